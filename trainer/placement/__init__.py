"""Which device holds each table, and how much memory the host has."""
