"""Recall of image-text retrieval.

In reading order:

- `evaluate`: a split's captions against galleries, one model or an ensemble, with or without normalisation
- `recall`: ranks, recall at 1, 5 and 10, and bootstrap intervals

It may import everything up to `indexing`.
"""
