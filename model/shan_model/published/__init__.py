"""Checkpoints that other authors published, as checkpoints of this package.

- `torch_file`: reads `torch.save`'s files without running what they hold;
- `states`: their tensors, each used, left out with a reason, or refused by name;
- `kinds`: which kinds there are, and `import_checkpoint`;
- `scan`, `vse_infinity` and so on: one kind each.
"""
