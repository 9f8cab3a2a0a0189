"""Tables and optimizer slots sharded over the workers of a run."""
