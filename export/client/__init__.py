"""What a client of a published version needs, without this project."""
