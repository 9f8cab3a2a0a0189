"""The training loop and the actions that run between its steps."""
