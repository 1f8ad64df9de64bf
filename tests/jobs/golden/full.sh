#!/bin/bash

# Parameters
#SBATCH --account=lab
#SBATCH --array=0-9%4
#SBATCH --constraint='ib&nvme'
#SBATCH --cpus-per-task=4
#SBATCH --error='/results/sub missions/x/logs/%A_%a_0_log.err'
#SBATCH --exclude='n[1-3]'
#SBATCH --exclusive
#SBATCH --gres=gpu:a100:2
#SBATCH --job-name=q-1234
#SBATCH --mail-type=FAIL
#SBATCH --mem=1536M
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --open-mode=append
#SBATCH --output='/results/sub missions/x/logs/%A_%a_0_log.out'
#SBATCH --partition=gpu,long
#SBATCH --qos=high
#SBATCH --requeue
#SBATCH --signal=USR2@60
#SBATCH --time=90

# setup
module load cuda/12.4
[ $? -eq 0 ] || { echo 'sweeps: failed: module load cuda/12.4' >&2; exit 1; }
source /conda/bin/activate x
[ $? -eq 0 ] || { echo 'sweeps: failed: source /conda/bin/activate x' >&2; exit 1; }
export PYTHONSAFEPATH=1
export MUJOCO_GL=egl
export PYTHONPATH=/code
export OMP_NUM_THREADS=4
export WHERE='it'"'"'s here'
export TMPDIR="/scratch/$USER"; mkdir -p "$TMPDIR"
export TORCHINDUCTOR_CACHE_DIR="/cache/inductor"; mkdir -p "$TORCHINDUCTOR_CACHE_DIR"
export TRITON_CACHE_DIR="/cache/triton"; mkdir -p "$TRITON_CACHE_DIR"
ulimit -n 4096

# command
export SUBMITIT_EXECUTOR=slurm
srun --unbuffered --output '/results/sub missions/x/logs/%A_%a_%t_log.out' --error '/results/sub missions/x/logs/%A_%a_%t_log.err' --cpus-per-task=4 --open-mode=append /env/bin/python -P -u -m jobs.entry '/results/sub missions/x' $((20 + SLURM_ARRAY_TASK_ID))
