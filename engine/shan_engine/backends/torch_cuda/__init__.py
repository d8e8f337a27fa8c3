"""SHAN's pair score on CUDA, through PyTorch and Triton: the gallery stays on the GPU, only the best k come back.

In reading order:

- `available`: whether PyTorch with Triton can score here, and on which devices.
- `scorer`: the back end; pairs are scored on CUDA devices, graphs run on the CPU.
- `held`: holds images on all devices.
- `several`, `device_gallery`: a gallery split over devices, and its part on one of them.
- `upload`, `ranking`: streams images to a device, and selects the best scores there.
- `pair_scores`, `pair_kernels`: launches the Triton kernels, and the kernels.

Importing `held` does not import PyTorch; holding images does.
"""
