"""Prepares data sets: Parquet shards, ids and statistics from raw files."""
