"""Parts of a score beside the steps of a model: each gives one number a photo for a caption.

In reading order:

- `part`: what a part is
- `global_term`, `class_evidence`: those of bundles
- `written`: words of a query that are written in photos, where a gallery knows them
- `table`: opens those that a bundle's manifest lists
- `whole_gallery`: the parts of all photos of a gallery, which keeps what they read

It may import everything up to `gallery`. A further part is a module here and a line in `table`.
"""
