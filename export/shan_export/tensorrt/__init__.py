"""ONNX graphs into TensorRT plans: precision in the graph, a check of what it costs, the build. Needs no PyTorch."""
