"""The feature store: region features of a photo collection, in LMDB.

In reading order:

- `feature_store`: reads, writes and compacts a store.
- `records`, `schema`, `metadata`: the bytes of a record, what all records have in common, and facts about images.
- `lmdb`: LMDB environments, and clear sentences for their errors.
- `dtype`: the dtype of a store that is about to be written.
- `verify`: checks every record.
- `importers`: reads features made elsewhere into a store.

Imports `base` and `text` (for the names in SCAN's files).
"""
