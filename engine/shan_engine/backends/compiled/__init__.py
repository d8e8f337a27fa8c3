"""Pairs scored on the CPU by the compiled kernel (`shan_engine.kernel`), beside whatever runs the graphs.

`available.py` says which variant of the kernel runs here, `scorer.py` scores with it.
"""
