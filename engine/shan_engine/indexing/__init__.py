"""Write galleries, with a scorer.

In reading order:

- `images`: brings a gallery up to date with a feature store; `remake`: changes it to another bundle.
- `refusals`: what may not be indexed.
- `encoding`, `block_writer`: encode images for a block, and write the files of one block.
- `tables`, `pooled`, `querybank`: a block's metadata, mean regions, and the captions that normalise scores.
- `captions`: encodes a file of captions into a caption gallery.
- `copy`: splits and merges galleries.

Imports `gallery`, `scoring`, `store` and what stands below them.
"""
