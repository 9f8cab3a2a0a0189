"""From ids and numbers to embeddings: fused tables and small MLPs."""
