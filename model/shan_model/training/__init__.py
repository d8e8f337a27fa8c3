"""Training of a model, for all models alike.

- `loop`: the training loop, with `schedule` for its settings and `state` for what it resumes from;
- `data`, `text`, `phrases`, `augment`: what it reads, and what becomes of it in a batch;
- `parameters`: what of a model learns, and at which rate;
- `loss`: the losses, over the scores that `grid` computes in bounded memory;
- `machine`, `plot`: device and memory, and the curve of a run.
"""
