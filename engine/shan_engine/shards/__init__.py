"""One search over several galleries, the shards of one: here one after another, or on a Ray cluster at once."""
