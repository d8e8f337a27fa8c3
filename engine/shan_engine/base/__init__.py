"""What every package needs, and nothing of retrieval. It imports no other package of the engine.

In reading order:

- `errors`: the tree of errors that a user can meet.
- `choices`: every choice that the engine offers, as `Literal`s.
- `files`, `locks`: files and folders written beside their place and renamed; one writer at a time.
- `manifests`: how manifests are typed, read, checked and saved.
- `ids`, `metadata`, `packing`: image ids as bytes, tables of facts about images, numbers as they are stored.
- `optional`, `threads`: packages that may be missing, and how many CPUs there are to use.
"""
