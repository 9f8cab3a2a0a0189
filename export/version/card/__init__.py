"""README.md of a version: its model card, with a head in YAML."""

from export.version.card.page import write

__all__ = ["write"]
