"""Published versions: how they are written, read and loaded."""
