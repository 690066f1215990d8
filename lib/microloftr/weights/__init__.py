"""Shipped weights: safetensors with their configuration and recipe inside, and the card of each (micro.md)."""
