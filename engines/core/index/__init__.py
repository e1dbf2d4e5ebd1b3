"""The catalog of a source: which images belong to a run, and how they are cut into shards."""
