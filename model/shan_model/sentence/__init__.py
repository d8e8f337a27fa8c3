"""SHAN over a frozen sentence model: one space for words and sentences of many languages.

- `encoder`: the sentence model, `piece_table` its embeddings of pieces;
- `package`, `folder`: where it comes from;
- `shan`: the model that is trained over it, with a global term and class evidence.
"""
