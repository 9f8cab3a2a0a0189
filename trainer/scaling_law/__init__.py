"""Ladders of models of rising cost, and the law that their losses follow."""
