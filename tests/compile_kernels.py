"""Compiles the Triton kernels for a GPU that need not be here, as `score_pairs` would launch them; JSON on stdout.

A script of its own, as a process that interprets Triton cannot compile it. Arguments: SM numbers such as 90.
"""

from __future__ import annotations

import json
import sys

import torch
import triton
from shan_engine.backends.torch_cuda import pair_kernels
from shan_engine.backends.torch_cuda.pair_scores import choose_tiles
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

TYPES = {torch.float16: "fp16", torch.bfloat16: "bf16", torch.float32: "fp32"}
# K, n, D, type, steps; K = 36 is what galleries have.
SHAPES = [
    (36, 12, 256, torch.float16, 3),
    (36, 12, 256, torch.float16, 1),
    (36, 20, 256, torch.float16, 2),
    (36, 12, 256, torch.float32, 2),
    (36, 20, 1024, torch.bfloat16, 3),
]


def compiled(K: int, n: int, D: int, dtype: torch.dtype, steps: int, arch: int) -> dict[str, object]:
    """Shared memory (bytes), and whether the machine code multiplies matrices on tensor cores."""
    tiles = choose_tiles(K, n, D, dtype, steps)
    kernel = pair_kernels.score_in_rows if tiles.kernel == "rows" else pair_kernels.score_in_chunks
    constants = {
        "STEPS": steps,
        "BK": tiles.regions,
        "BN": tiles.words,
        "BD": tiles.dims,
        "PRECISION": "ieee",
        "FAST": dtype != torch.float32,
        **({"TILE": tiles.tile} if tiles.kernel == "rows" else {}),
    }
    numbers = {"images": "i32", "captions": "i32", "K": "i32", "N": "i32", "D": "i32"}
    numbers |= dict.fromkeys(("temperature", "a", "b"), "fp32")
    pointers = {"V_MASK": "*u8", "T_MASK": "*u8", "V_POOL": "*fp32", "T_POOL": "*fp32", "OUT": "*fp32"}
    types = {**dict.fromkeys(constants, "constexpr"), **numbers, **pointers}
    signature = {name: types.get(name, "*" + TYPES[dtype]) for name in kernel.arg_names}
    aligned = [name for name, type in signature.items() if type.startswith("*") or name == "D"]
    attributes = {(kernel.arg_names.index(name),): [["tt.divisibility", 16]] for name in aligned}
    made = triton.compile(
        ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=attributes),
        target=GPUTarget("cuda", arch, 32),
        options={"num_warps": tiles.warps, "num_stages": tiles.stages},
    )
    assert made.asm["cubin"]
    ptx = made.asm["ptx"]
    return {
        "shape": [K, n, D, TYPES[dtype], steps],
        "arch": arch,
        "kernel": tiles.kernel,
        "shared": made.metadata.shared,
        "tensor_cores": "mma.sync" in ptx or "wgmma" in ptx,
        "fast_tanh": "tanh.approx" in ptx,
    }


print(json.dumps([compiled(*shape, int(arch)) for arch in sys.argv[1:] for shape in SHAPES]))
