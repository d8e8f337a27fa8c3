"""Captions read by BERT.

- `transformer`: BERT's encoder;
- `text_encoder`: its last states, projected, as published models have it;
- `word_encoder`: the same with pieces pooled to words (`pieces`), which `train --text-encoder` starts from;
- `folder`: a pretrained one from a Hugging Face folder, whose tensors `names` renames.
"""
