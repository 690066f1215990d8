"""Where a cell is: rotary encoding (Su et al. 2021), as `micro` has it, or the published sines (LoFTR §3.2).

Rotary: queries and keys of self-attention are turned by angles that grow with the cell's x and y, so that the inner
product of full attention tells the distance of two cells only: nothing is learned about absolute places. Sines: added
once to the coarse features, they tell the absolute place. Neither has a table that limits the size.
"""

import math

import torch
from torch import Tensor

LONGEST = 100.0  # rotary: the slowest pair of channels turns by one radian in about this many cells
BASE = 10_000.0  # sines: the slowest one turns by one radian in about this many cells


def frequencies(channels: int) -> Tensor:
    """Radians per cell (channels // 4,) of the rotary encoding, from 1 down towards 1/LONGEST, geometrically."""
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


def sine_encoding(
    height: int, width: int, channels: int, released: bool = False, device: torch.device | str = "cpu"
) -> Tensor:
    """The published encoding (channels, h, w): channels 4k … 4k+3 are sin xω, cos xω, sin yω, cos yω; x, y from 1 on.

    ω_k = BASE^(−2k/(C/2)), by the published code; the paper leaves the formula to its supplement. The outdoor weights
    and the first indoor ones were trained with a slip in it (`/d_model//2` without parentheses): ω_k = e^(−2k), where
    almost all channels are constant. `released` gives those.
    """
    half = channels // 2
    exponent = -1.0 if released else -math.log(BASE) / half
    omega = torch.exp(torch.arange(0, half, 2, device=device).float() * exponent)[:, None, None]
    y = torch.arange(1, height + 1, device=device).float()[:, None].expand(height, width)
    x = torch.arange(1, width + 1, device=device).float().expand(height, width)
    waves = torch.stack(((x * omega).sin(), (x * omega).cos(), (y * omega).sin(), (y * omega).cos()), 1)
    return waves.flatten(0, 1)
