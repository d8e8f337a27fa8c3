"""Bundles from vision-language models that lie in a folder on disk: CLIP, SigLIP and their kin.

- `folder`: what is in the folder, and what is wrong with it
- `pretrained`: its parts, read with the library transformers; `open_clip`: the same of a checkpoint of open_clip
- `preprocessing`: what its image processor does, as a recipe
- `towers`: its two encoders as plain modules for export
- `bundle`: writes the bundle
- `reference`: compares the bundle with the model itself, from photo and text to cosine

Nothing is downloaded: the library reads the folder alone.
"""
