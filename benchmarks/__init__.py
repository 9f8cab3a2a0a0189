"""Speed and memory: `python -m benchmarks.NAME` prints one JSON line."""
