"""From trained modules to ONNX graphs and a bundle that runs without PyTorch."""
