"""Keep a collection's store and gallery up to date with its folders.

`update` does it once, `watch` tells when to do it again, `estimate` how long the first time takes.
"""
