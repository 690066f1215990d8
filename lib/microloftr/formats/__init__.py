"""Decoders of microscope makers' own formats, and of NumPy's."""
