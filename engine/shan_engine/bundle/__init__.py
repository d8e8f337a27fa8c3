"""A bundle: what scores without PyTorch. It is only read here; `export` writes it.

In reading order:

- `contents`: opens a bundle and checks its files.
- `manifest`: what a bundle says of itself.
- `plans`: TensorRT plans of a bundle, and which of them may run here.

Imports `base` and `text`.
"""
