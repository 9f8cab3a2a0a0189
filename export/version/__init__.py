"""How a version appears, and what others read of it."""
