"""SHAN as plain PyTorch modules, its checkpoint on disk, and its training loop."""
