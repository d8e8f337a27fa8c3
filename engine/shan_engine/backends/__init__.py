"""Ways to run a bundle's graphs and to score pairs.

`interface.py` says what a back end is; `table.py` lists them and opens one. Each is a package with the same two
modules: `available.py` says whether it can run here, `scorer.py` runs it.

In reading order:

- `onnx_runtime`: graphs on the CPU or CUDA, alone or through its TensorRT provider
- `compiled`: pairs on the CPU through the compiled kernel, beside ONNX Runtime's graphs
- `tensorrt`: a bundle's compiled plans, run natively
- `torch_cuda`: pairs on CUDA through PyTorch and Triton, with the whole gallery held there
- `graph_scorer`: pairs through the bundle's own graph, for those that run it

They may import `kernel`, `bundle`, `text` and `base`; heavy libraries are imported only where they are used.
"""
