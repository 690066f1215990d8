"""Where a cell is: rotary position encoding in two dimensions (Su et al. 2021), for the self-attention.

Queries and keys are turned by angles that grow with the cell's x and y, so their inner product (that of full attention)
tells the distance of two cells only: nothing is learned about absolute places, and no table limits the size.
"""

import torch
from torch import Tensor

LONGEST = 100.0  # the slowest pair of channels turns by one radian in about this many cells


def frequencies(channels: int) -> Tensor:
    """Radians per cell (channels // 4,), from 1 down towards 1/LONGEST, geometrically.

    (The published code divides by `d_model//2` without parentheses: its frequencies fall as e^(−2k) and almost all of
    its channels are constant.)
    """
    count = channels // 4
    return LONGEST ** (-torch.arange(count, dtype=torch.float32) / count)


def rotary_angles(height: int, width: int, channels: int, device: torch.device | str = "cpu") -> Tensor:
    """Angles (L, channels // 2) of all cells of an h×w grid: half of the channel pairs turn with x, half with y."""
    omega = frequencies(channels).to(device)
    y, x = torch.meshgrid(torch.arange(height, device=device), torch.arange(width, device=device), indexing="ij")
    return torch.cat((x.reshape(-1, 1) * omega, y.reshape(-1, 1) * omega), 1)


def rotate(features: Tensor, angles: Tensor) -> Tensor:
    """Features (..., L, D) with channel pairs (k, k + D/2) turned by angles (L, D // 2)."""
    cos, sin = angles.cos().to(features.dtype), angles.sin().to(features.dtype)
    first, second = features.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, first * sin + second * cos), -1)
