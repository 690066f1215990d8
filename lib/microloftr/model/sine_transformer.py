"""The published transformer: self- and cross-attention N_c times, places told once by sines (LoFTR §3.2, fig. 3)."""

import torch
from torch import Tensor, nn

from microloftr.model.attention import ATTENTION
from microloftr.model.position import sine_encoding
from microloftr.model.tokens import heads_of, maps_of, tokens_of


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
        query, key, value = heads_of(self.heads, self.query(x), self.key(source), self.value(source))
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
    ) -> tuple[Tensor, Tensor]:
        """Coarse maps (B, C, h0, w0) and (B, C, h1, w1), masks (B, L0) and (B, L1) → the same shapes."""
        placed = (x + self.position(x) for x in (coarse_0, coarse_1))
        x_0, x_1 = super().forward(*(tokens_of(x) for x in placed), mask_0, mask_1)
        return maps_of(x_0, coarse_0), maps_of(x_1, coarse_1)

    def position(self, coarse: Tensor) -> Tensor:
        """The encoding (C, h, w) of a map's cells."""
        channels, height, width = coarse.shape[1:]
        return sine_encoding(height, width, channels, self.released_position, coarse.device).to(coarse.dtype)
