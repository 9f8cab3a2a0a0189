"""Embeddings of ids and numbers: fused tables and small MLPs."""
