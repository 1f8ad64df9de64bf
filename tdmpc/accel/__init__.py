"""Second implementations for speed: C kernels on a CPU, CUDA graphs on a GPU."""
