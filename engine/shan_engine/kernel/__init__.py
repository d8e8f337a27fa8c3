"""SHAN's pair score on the CPU, in C.

In reading order:

- `constants`: SHAN's arrays by name, and the model's constants.
- `shan`: the kernel's scores in Python.
- `step_1`: step 1 in NumPy, the reference and stand-in for the kernel's, and the first pass's query.
- `arrays`: checks arrays before their addresses go to C.
- `library`: the compiled variants, and the choice of one.
- `pair.c`: the score with all its steps; `local.c`: step 1 alone; `scan.c`: products of vectors.
- `training.c`: step 1 with its gradients.
- `captions.c`, `attention.h`, `vector.h`: packing, attention weights and vector functions for these.

Imports `base` and `bundle`.
"""
