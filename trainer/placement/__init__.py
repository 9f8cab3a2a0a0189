"""Placement of tables on devices, and the host's memory."""
