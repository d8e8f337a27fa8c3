"""Score images with captions, on any back end.

In reading order:

- `encoders`: encode captions and images to arrays with a bundle's graphs
- `scorer`: a bundle opened on one back end: its encoders, its pair scorer, what explains a score
- `passes`: the one loop over pairs, which search, jobs and evaluation share
- `stored_images`: a gallery on disk, for back ends that keep galleries on their devices
- `vectors`: one vector per photo, for other indexes

It may import everything up to `parts`.
"""
