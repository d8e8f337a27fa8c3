"""Photos: from a folder of photo files to region features in a store.

In reading order:

- `find`: lists the photos below a folder.
- `formats`: which suffixes are read, and by which package.
- `decode`: turns one photo file into upright sRGB pixels, with `opening`, `loading`, `tones`, `colour`, `memory`
  and `fit`, which says how they become those that an extractor takes.
- `extractor`: runs an ONNX backbone or detector, which turns pixels into regions.
- `extract`: brings a feature store up to date with a folder.
- `text_reader`, `text_regions`: what is written in a photo; `read_text` reads the photos of a store.

Imports `base`, `backends` and `store`.
"""

from shan_engine.photos.decode import decode_photo as decode_photo
