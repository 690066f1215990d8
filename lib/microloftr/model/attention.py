"""Attention: how cells exchange what they know, full (Vaswani et al. 2017) or linear (Katharopoulos et al. 2020)."""

from torch import Tensor
from torch.nn import functional as F


def full_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """softmax(QKᵀ/√D)V for (B, heads, L, D); time L0·L1·C, memory O(L) by torch's fused kernels.

    In training on a CPU the product is written out: there the fused kernel's way back takes more than twice as long.
    """
    if query.device.type == "cpu" and query.requires_grad:
        return (query * query.shape[-1] ** -0.5 @ key.transpose(-1, -2)).softmax(-1) @ value
    return F.scaled_dot_product_attention(query, key, value)


def linear_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """φ(Q)(φ(K)ᵀV) / φ(Q)Σφ(K) with φ = elu + 1, for (B, heads, L, D); time L·C·D (LoFTR, eq. 2).

    V is divided by its length and multiplied back, so that half precision does not overflow.
    """
    query, key = F.elu(query) + 1, F.elu(key) + 1
    length = value.shape[-2]
    summary = key.transpose(-1, -2) @ (value / length)
    norm = query @ key.sum(-2, keepdim=True).transpose(-1, -2)
    return query @ summary / (norm + 1e-6) * length


ATTENTION = {"full": full_attention, "linear": linear_attention}
