"""Self- and cross-attention over the coarse cells of both images."""

import torch
from torch import Tensor, nn

from microloftr.model.attention import ATTENTION
from microloftr.model.position import rotary_angles, rotate


class Layer(nn.Module):
    """One attention layer: cells of `x` ask cells of `source`, and add what they make of the answer.

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

    def forward(self, x: Tensor, source: Tensor, angles: Tensor | None = None) -> Tensor:
        """x (B, L0, C), source (B, L1, C), angles (L, D/2) where both are one image's cells → (B, L0, C)."""
        asking, asked = self.norm(x), self.norm_source(source)
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (self.query(asking), self.key(asked), self.value(asked))
        )  # (B, heads, L, D)
        if angles is not None:
            query, key = rotate(query, angles), rotate(key, angles)
        message = self.attend(query, key, value).transpose(1, 2).flatten(2)
        return x + self.mlp(torch.cat((asking, self.merge(message)), -1))


class Transformer(nn.Module):
    """`layers` times self-attention in each image, then cross-attention between them.

    Both directions of a cross layer read the features from before it, so match(a, b) and match(b, a) see the same;
    the published form lets image 1 read the already changed image 0.
    """

    def __init__(self, dim: int, heads: int, layers: int, attention: str) -> None:
        super().__init__()
        self.head_dim = dim // heads
        self.self_layers = nn.ModuleList(Layer(dim, heads, attention) for _ in range(layers))
        self.cross_layers = nn.ModuleList(Layer(dim, heads, attention) for _ in range(layers))

    def forward(self, coarse_0: Tensor, coarse_1: Tensor) -> tuple[Tensor, Tensor]:
        """Coarse maps (B, C, h0, w0) and (B, C, h1, w1) → the same shapes."""
        shape_0, shape_1 = coarse_0.shape[-2:], coarse_1.shape[-2:]
        angles_0 = rotary_angles(*shape_0, self.head_dim, coarse_0.device)
        angles_1 = rotary_angles(*shape_1, self.head_dim, coarse_1.device)
        x_0, x_1 = coarse_0.flatten(2).transpose(1, 2), coarse_1.flatten(2).transpose(1, 2)  # (B, L, C)
        for self_layer, cross_layer in zip(self.self_layers, self.cross_layers, strict=True):
            x_0, x_1 = self_layer(x_0, x_0, angles_0), self_layer(x_1, x_1, angles_1)
            x_0, x_1 = cross_layer(x_0, x_1), cross_layer(x_1, x_0)
        return x_0.transpose(1, 2).unflatten(2, shape_0), x_1.transpose(1, 2).unflatten(2, shape_1)
