"""A bundle's TensorRT plans, run natively on one NVIDIA GPU, without PyTorch.

- `graph`: one plan, and all plans of a bundle.
- `memory`: device memory, streams and CUDA graphs.
"""
