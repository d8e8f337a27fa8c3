"""Queries to hits.

In reading order:

- `answer`: the way in: read queries, rank a gallery, describe the best
- `query`: what is asked: weighted phrases and a photo, and how a model reads them
- `photo_query`: a photo as a query
- `exhaustive`: exact scores of all images
- `cascade`: a large gallery in stages: centroids, step 1, all steps
- `tuning`: how many images each stage sees; `measure` finds it out on a user's own queries
- `ranking`: the best of many scores
- `explain`: parts of scores, and the region behind each word
- `results`: hits
- `captions`: the captions that fit a photo

It may import everything up to `photos`.
"""
