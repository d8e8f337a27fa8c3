"""What writes galleries, with a scorer.

In reading order:

- `images`: brings a gallery up to date with a feature store.
- `encoding`, `block_writer`: images as a block takes them, and the files of one block.
- `tables`, `centroids`, `querybank`: a block's metadata, coded regions, and the captions that scores are normalised by.
- `captions`: a file of captions into a gallery of captions.
- `copy`: galleries split and merged.

Imports `gallery`, `scoring`, `store` and what stands below them.
"""
