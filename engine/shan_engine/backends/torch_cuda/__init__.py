"""Torch_cuda."""
