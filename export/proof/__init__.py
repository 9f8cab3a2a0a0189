"""How a version is held to the scores of its checkpoint."""
