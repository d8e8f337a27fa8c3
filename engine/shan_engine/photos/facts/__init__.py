"""The photos' own metadata, by where it is written.

- `dates`, `exif`, `iptc`, `xmp`, `takeout`: one way of writing facts each.
- `embedded`: all that an opened photo carries; `sidecars`: the files beside it.
- `places`: names of the place where a photo was taken, from GeoNames.
- `collect`: puts them together; `renew`: brings those of a store up to date.
"""
