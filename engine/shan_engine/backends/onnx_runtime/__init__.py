"""Onnx_runtime."""
