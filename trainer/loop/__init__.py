"""Trains: the loop over steps, and what happens between them."""
