"""Published models that compare one vector a side, each pooled from rows in a way that is learnt.

- `rows`: the encoder of regions, and the base of these models;
- `gpo`, `vse_infinity`: the k-th largest values, weighted by k;
- `esa`: a softmax over the rows for each dimension.
"""
