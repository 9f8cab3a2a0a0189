"""From a data set's own files to Parquet shards, ids and statistics."""
