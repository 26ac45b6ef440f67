"""The operators in plain tensor operations: their definition, and the implementation where no kernels are built."""
