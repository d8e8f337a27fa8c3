"""Pairs scored on the CPU by the compiled kernel (`shan_engine.kernel`), while ONNX Runtime runs the graphs.

`available.py` says which variant of the kernel runs here, `scorer.py` scores with it.
"""
