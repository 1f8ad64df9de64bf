#!/bin/bash

# Parameters
#SBATCH --array=0-47%8
#SBATCH --cpus-per-task=4
#SBATCH --error='/results/sub missions/x/logs/%A_%a_0_log.err'
#SBATCH --gpus-per-node=1
#SBATCH --job-name=q-1234
#SBATCH --mem=16384M
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --open-mode=append
#SBATCH --output='/results/sub missions/x/logs/%A_%a_0_log.out'
#SBATCH --requeue
#SBATCH --signal=USR2@120
#SBATCH --time=720

# setup
export PYTHONSAFEPATH=1
export MUJOCO_GL=disabled
export PYTHONPATH=/code
export OMP_NUM_THREADS=4

# command
export SUBMITIT_EXECUTOR=slurm
srun --unbuffered --output '/results/sub missions/x/logs/%A_%a_%t_log.out' --error '/results/sub missions/x/logs/%A_%a_%t_log.err' --cpus-per-task=4 --open-mode=append /env/bin/python -P -u -m jobs.entry '/results/sub missions/x' $((0 + SLURM_ARRAY_TASK_ID))
