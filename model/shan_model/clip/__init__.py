"""SHAN over the frozen tokens of CLIP, SigLIP and their kin.

- `config`: the sizes;
- `text`: the text encoder of such a model;
- `shan`: words of it against regions of the same model's image encoder, beside its own cosine;
- `pretrained`: what training starts from.
"""
