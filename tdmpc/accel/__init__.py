"""Optional faster execution: C kernels on a CPU, `torch.compile`, and CUDA graphs on a GPU."""
