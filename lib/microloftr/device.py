"""Where tensors live: one rule for every command."""

import torch

from microloftr.errors import ParameterError


def choose_device(wanted: str = "auto") -> torch.device:
    """auto: the GPU where torch sees one, else the CPU; cpu; cuda. Raises ParameterError for another word or no GPU."""
    if wanted not in ("auto", "cpu", "cuda"):
        raise ParameterError(f"device is {wanted!r}; it must be auto, cpu or cuda")
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ParameterError("device is cuda, but torch sees no GPU here; use auto or cpu")
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")
