"""Maps and cells: the same numbers, laid out for convolutions or for attention."""

import torch
from torch import Tensor


def tokens_of(maps: Tensor) -> Tensor:
    """Maps (B, C, h, w) → cells (B, L, C), row by row."""
    return maps.flatten(2).transpose(1, 2)


def maps_of(tokens: Tensor, like: Tensor) -> Tensor:
    """Cells (B, L, C) → maps (B, C, h, w) of the shape of `like`."""
    return tokens.transpose(1, 2).unflatten(2, like.shape[-2:])


def heads_of(heads: int, *tokens: Tensor) -> list[Tensor]:
    """Cells (B, L, C) → (B, heads, L, D), D = C / heads."""
    return [x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in tokens]


def precise(x: Tensor) -> Tensor:
    """In float32 at least, also where x was made in half precision: a softmax over many cells needs its digits."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
