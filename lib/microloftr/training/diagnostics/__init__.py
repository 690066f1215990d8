"""Checks of the training recipe: each a function that returns numbers."""
