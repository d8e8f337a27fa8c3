"""Is what is on disk still what was written, and what can be rebuilt of it?

In reading order:

- `findings`: a fault, and the verdict on a path.
- `kinds`: which kind of thing a path is.
- `verify`: the way in to checking; each module of `checks` checks one kind.
- `repair`: the way in to repairing; each module of `repairs` repairs one kind.

Imports every package of the engine below `session`.
"""
