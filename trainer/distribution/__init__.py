"""Distributes a run over devices and workers."""
