"""Compile ONNX graphs to TensorRT plans: set the precision, check what it costs, build. Needs no PyTorch."""
