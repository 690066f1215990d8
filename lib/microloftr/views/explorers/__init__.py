"""Explorers for notebooks, one file each: a pure function that draws a Figure, and the widget that moves it."""
