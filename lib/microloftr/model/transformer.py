"""Self- and cross-attention over the coarse cells of both images (LoFTR §3.2), as published and as `micro` has it."""

import torch
from torch import Tensor, nn

from microloftr.model.attention import ATTENTION
from microloftr.model.position import rotary_angles, rotate, sine_encoding

Maps = tuple[Tensor, Tensor]


class PublishedLayer(nn.Module):
    """One encoder layer: cells of `x` ask cells of `source`; the message is normalised, x itself never is."""

    def __init__(self, dim: int, heads: int, attention: str) -> None:
        super().__init__()
        self.heads, self.attend = heads, ATTENTION[attention]
        self.query, self.key, self.value, self.merge = (nn.Linear(dim, dim, bias=False) for _ in range(4))
        self.norm_message, self.norm_update = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.mlp = nn.Sequential(
            nn.Linear(2 * dim, 2 * dim, bias=False), nn.ReLU(), nn.Linear(2 * dim, dim, bias=False)
        )
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter)

    def forward(self, x: Tensor, source: Tensor, mask: Tensor | None, source_mask: Tensor | None) -> Tensor:
        """x (B, L0, C), source (B, L1, C), masks (B, L0) and (B, L1) or None → (B, L0, C)."""
        query, key, value = _heads(self.heads, self.query(x), self.key(source), self.value(source))
        message = self.attend(query, key, value, mask, source_mask).transpose(1, 2).flatten(2)
        message = self.norm_message(self.merge(message))
        return x + self.norm_update(self.mlp(torch.cat((x, message), -1)))


class PublishedTransformer(nn.Module):
    """`layers` times self-attention, then cross-attention, with one set of weights for both images.

    In a cross layer image_0 is updated first, and image_1 reads what came of it: match(a, b) and match(b, a) differ.
    """

    def __init__(self, dim: int, heads: int, layers: int, attention: str) -> None:
        super().__init__()
        self.layers = nn.ModuleList(PublishedLayer(dim, heads, attention) for _ in range(2 * layers))

    def forward(
        self, x_0: Tensor, x_1: Tensor, mask_0: Tensor | None = None, mask_1: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Tokens (B, L0, C) and (B, L1, C), masks (B, L0) and (B, L1) → the same shapes."""
        for self_layer, cross_layer in zip(self.layers[::2], self.layers[1::2], strict=True):
            x_0, x_1 = self_layer(x_0, x_0, mask_0, mask_0), self_layer(x_1, x_1, mask_1, mask_1)
            x_0 = cross_layer(x_0, x_1, mask_0, mask_1)
            x_1 = cross_layer(x_1, x_0, mask_1, mask_0)
        return x_0, x_1


class SineTransformer(PublishedTransformer):
    """The published transformer over coarse maps: positions are added once, as sines, before the first layer."""

    def __init__(self, dim: int, heads: int, layers: int, attention: str, released_position: bool = False) -> None:
        super().__init__(dim, heads, layers, attention)
        self.released_position = released_position

    def forward(
        self, coarse_0: Tensor, coarse_1: Tensor, mask_0: Tensor | None = None, mask_1: Tensor | None = None
    ) -> Maps:
        """Coarse maps (B, C, h0, w0) and (B, C, h1, w1), masks (B, L) → the same shapes."""
        placed = (x + self.position(x) for x in (coarse_0, coarse_1))
        x_0, x_1 = super().forward(*(_tokens(x) for x in placed), mask_0, mask_1)
        return _maps(x_0, coarse_0), _maps(x_1, coarse_1)

    def position(self, coarse: Tensor) -> Tensor:
        """The encoding (C, h, w) of a map's cells."""
        channels, height, width = coarse.shape[1:]
        return sine_encoding(height, width, channels, self.released_position, coarse.device).to(coarse.dtype)


class Layer(nn.Module):
    """`micro`'s layer: both sides are normalised before the attention, and x only ever has something added to it.

    The last weights start at zero: a fresh layer changes nothing, and training begins from the backbone's descriptors.
    """

    def __init__(self, dim: int, heads: int, attention: str) -> None:
        super().__init__()
        self.heads, self.attend = heads, ATTENTION[attention]
        self.norm, self.norm_source = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.query, self.key, self.value = (nn.Linear(dim, dim, bias=False) for _ in range(3))
        self.merge = nn.Linear(dim, dim, bias=False)
        self.mlp = nn.Sequential(nn.Linear(2 * dim, 2 * dim), nn.LayerNorm(2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))
        nn.init.zeros_(self.mlp[-1].weight)
        nn.init.zeros_(self.mlp[-1].bias)

    def forward(
        self, x: Tensor, source: Tensor, angles: Tensor | None = None, source_mask: Tensor | None = None
    ) -> Tensor:
        """x (B, L0, C), source (B, L1, C), angles (L, D/2) where both are one image's cells → (B, L0, C)."""
        asking, asked = self.norm(x), self.norm_source(source)
        query, key, value = _heads(self.heads, self.query(asking), self.key(asked), self.value(asked))
        if angles is not None:
            query, key = rotate(query, angles), rotate(key, angles)
        message = self.attend(query, key, value, None, source_mask).transpose(1, 2).flatten(2)
        return x + self.mlp(torch.cat((asking, self.merge(message)), -1))


class Transformer(nn.Module):
    """`micro`'s transformer: `layers` times self-attention in each image, then cross-attention between them.

    Both directions of a cross layer read the features from before it, so match(a, b) and match(b, a) see the same.
    """

    def __init__(self, dim: int, heads: int, layers: int, attention: str) -> None:
        super().__init__()
        self.head_dim = dim // heads
        self.self_layers = nn.ModuleList(Layer(dim, heads, attention) for _ in range(layers))
        self.cross_layers = nn.ModuleList(Layer(dim, heads, attention) for _ in range(layers))

    def forward(
        self, coarse_0: Tensor, coarse_1: Tensor, mask_0: Tensor | None = None, mask_1: Tensor | None = None
    ) -> Maps:
        """Coarse maps (B, C, h0, w0) and (B, C, h1, w1), masks (B, L) → the same shapes."""
        angles_0, angles_1 = (rotary_angles(*x.shape[-2:], self.head_dim, x.device) for x in (coarse_0, coarse_1))
        x_0, x_1 = _tokens(coarse_0), _tokens(coarse_1)
        for self_layer, cross_layer in zip(self.self_layers, self.cross_layers, strict=True):
            x_0, x_1 = self_layer(x_0, x_0, angles_0, mask_0), self_layer(x_1, x_1, angles_1, mask_1)
            x_0, x_1 = cross_layer(x_0, x_1, None, mask_1), cross_layer(x_1, x_0, None, mask_0)
        return _maps(x_0, coarse_0), _maps(x_1, coarse_1)


def _heads(heads: int, *tokens: Tensor) -> list[Tensor]:
    """Tokens (B, L, C) → (B, heads, L, D)."""
    return [x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in tokens]


def _tokens(maps: Tensor) -> Tensor:
    """Maps (B, C, h, w) → tokens (B, L, C)."""
    return maps.flatten(2).transpose(1, 2)


def _maps(tokens: Tensor, like: Tensor) -> Tensor:
    """Tokens (B, L, C) → maps (B, C, h, w) of the shape of `like`."""
    return tokens.transpose(1, 2).unflatten(2, like.shape[-2:])
