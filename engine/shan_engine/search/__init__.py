"""Queries to hits.

In reading order:

- `answer`: the entry point: read queries, rank a gallery, describe the best
- `query`: weighted phrases and a photo, and how a model reads them
- `photo_query`: a photo as a query
- `exhaustive`: exact scores of all images
- `cascade`: a large gallery in stages: one vector an image, step 1, all steps
- `bounded`: late interaction with those photos alone that can be hits
- `tuning`: how many images each stage sees; `measure` measures it on a user's own queries
- `ranking`: the best of many scores
- `groups`: near-identical photos as one hit
- `hints`: what in a query a search does not understand
- `explain`: parts of scores, and the region behind each word
- `pointing`: which region a word means; `fine_map` looks for it in the photo itself
- `results`: hits
- `captions`: the captions that fit a photo

It may import everything up to `photos`.
"""
