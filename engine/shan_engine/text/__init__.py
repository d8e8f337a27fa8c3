"""Texts: which tokens, which words. Imports the base only.

- `tokenizer`: what a tokenizer gives;
- `vocabulary`, `hugging_face`: a token for each word; tokens of a `tokenizer.json`;
- `unigram`: of a large `tokenizer.json`, only what a text needs;
- `sentences`: NLTK's sentences, for vocabularies of models that were trained on them;
- `tokenizer_files`: which of them a folder holds;
- `captions`: captioned images for training and evaluation;
- `query_files`: queries to score, from files.
"""
