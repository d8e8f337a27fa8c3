"""Collections: folders of photos with the store and the gallery made of them, each in a small TOML file.

`settings` says what such a file holds, reads and writes it; `named` finds the one that a command means.
"""
