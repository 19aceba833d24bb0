"""Token ids to batches: shards, the order they are read in, the loader that can start anywhere."""
