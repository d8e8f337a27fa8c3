"""Scores of images with captions, by whatever back end computes them.

In reading order:

- `encoders`: captions and images into arrays, through a bundle's graphs
- `scorer`: a bundle opened on one back end: its encoders, its pair scorer, what explains a score
- `passes`: the one loop over pairs, which search, jobs and evaluation share
- `stored_images`: a gallery on disk as a back end reads it that keeps galleries on its devices
- `vectors`: one vector a photo, for other indexes

It may import everything up to `gallery`.
"""
