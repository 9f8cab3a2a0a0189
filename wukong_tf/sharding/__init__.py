"""Tables sharded by rows over the workers of a run."""
