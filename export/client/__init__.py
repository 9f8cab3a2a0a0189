"""Clients of published versions, which do not depend on this project."""
