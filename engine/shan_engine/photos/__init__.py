"""Photos: from a folder of photo files to region features in a store.

In reading order:

- `find`: lists the photos below a folder.
- `decode`: turns one photo file into upright RGB pixels.
- `extractor`: runs an ONNX backbone or detector, which turns pixels into regions.
- `extract`: brings a feature store up to date with a folder.

Imports `base`, `backends` and `store`.
"""
