"""A bundle's TensorRT plans, run natively on one NVIDIA GPU, without PyTorch.

- `available`: imports TensorRT or TensorRT for RTX.
- `scorer`: the back end.
- `graph`: one plan, and all plans of a bundle.
- `memory`: device memory, streams and CUDA graphs.
"""
