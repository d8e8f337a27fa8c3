"""A bundle's graphs run in ONNX Runtime, on the CPU or CUDA.

- `available`: imports ONNX Runtime.
- `scorer`: the back end.
- `graph`: one graph.
"""
