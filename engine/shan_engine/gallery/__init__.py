"""A gallery: encoded images or captions on disk. This package only reads; `indexing` writes.

In reading order:

- `reader`: opens a gallery, and narrows it down to some images.
- `normalised`: the same gallery, less the hubness by the bundle's querybank.
- `manifest`: what a gallery says of itself.
- `blocks`, `block_files`: the images of a block, and its mapped and checked files.
- `storage`: types and shapes of the files, and checksums.
- `images`: images of several galleries in one order.
- `conditions`, `near`: what a filter says, and photos near a place.
- `filters`, `pooled`: metadata tables with SQL conditions, and the mean region of every image.
- `written`: the index of what is written in photos.
- `captions`, `memory`: a gallery of captions; a gallery that is in memory alone.

Imports `base`, `bundle` and what stands below them.
"""
