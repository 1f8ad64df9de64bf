#!/bin/bash

# Parameters
#SBATCH --cpus-per-task=1
#SBATCH --error='/results/sub missions/x/logs/%j_0_log.err'
#SBATCH --job-name=q-1234
#SBATCH --mem=4096M
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --open-mode=append
#SBATCH --output='/results/sub missions/x/logs/%j_0_log.out'
#SBATCH --requeue
#SBATCH --signal=USR2@120
#SBATCH --time=1440

# setup
export PYTHONSAFEPATH=1
export MUJOCO_GL=disabled
export PYTHONPATH=/code
export OMP_NUM_THREADS=1

# command
export SUBMITIT_EXECUTOR=slurm
srun --unbuffered --output '/results/sub missions/x/logs/%j_%t_log.out' --error '/results/sub missions/x/logs/%j_%t_log.err' --cpus-per-task=1 --open-mode=append /env/bin/python -P -u -m jobs.entry '/results/sub missions/x' 0
