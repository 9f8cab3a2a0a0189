"""Tunes models with equal budgets."""
