"""`micro`'s self- and cross-attention over both images' coarse cells (the published form: sine_transformer.py)."""

import torch
from torch import Tensor, nn

from microloftr.model.attention import ATTENTION
from microloftr.model.position import rotary_angles, rotate
from microloftr.model.tokens import heads_of, maps_of, tokens_of


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
        query, key, value = heads_of(self.heads, self.query(asking), self.key(asked), self.value(asked))
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
    ) -> tuple[Tensor, Tensor]:
        """Coarse maps (B, C, h0, w0) and (B, C, h1, w1), masks (B, L0) and (B, L1) → the same shapes."""
        angles_0, angles_1 = (rotary_angles(*x.shape[-2:], self.head_dim, x.device) for x in (coarse_0, coarse_1))
        x_0, x_1 = tokens_of(coarse_0), tokens_of(coarse_1)
        for self_layer, cross_layer in zip(self.self_layers, self.cross_layers, strict=True):
            x_0, x_1 = self_layer(x_0, x_0, angles_0, mask_0), self_layer(x_1, x_1, angles_1, mask_1)
            x_0, x_1 = cross_layer(x_0, x_1, None, mask_1), cross_layer(x_1, x_0, None, mask_0)
        return maps_of(x_0, coarse_0), maps_of(x_1, coarse_1)
