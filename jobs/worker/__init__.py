"""What runs inside a job: training, evaluation, video."""
