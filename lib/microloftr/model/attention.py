"""Attention: how cells exchange what they know, full (Vaswani et al. 2017) or linear (Katharopoulos et al. 2020).

Both: query (B, heads, L0, D), key and value (B, heads, L1, D) → (B, heads, L0, D); masks (B, L), False where a cell is
padding, which asks nothing and tells nothing.
"""

from torch import Tensor
from torch.nn import functional as F


def full_attention(
    query: Tensor, key: Tensor, value: Tensor, query_mask: Tensor | None = None, key_mask: Tensor | None = None
) -> Tensor:
    """softmax(QKᵀ/√D)V; time L0·L1·C, memory O(L) by torch's fused kernels.

    In training on a CPU the product is written out: there the fused kernel's way back takes more than twice as long.
    """
    seen = None if key_mask is None else key_mask[:, None, None, :]
    if query.device.type == "cpu" and query.requires_grad:
        logits = query * query.shape[-1] ** -0.5 @ key.transpose(-1, -2)
        answer = (logits if seen is None else logits.masked_fill(~seen, -1e4)).softmax(-1) @ value
    else:
        answer = F.scaled_dot_product_attention(query, key, value, seen)
    return answer if query_mask is None else answer * query_mask[:, None, :, None]


def linear_attention(
    query: Tensor, key: Tensor, value: Tensor, query_mask: Tensor | None = None, key_mask: Tensor | None = None
) -> Tensor:
    """φ(Q)(φ(K)ᵀV) / φ(Q)Σφ(K) with φ = elu + 1; time L·C·D (LoFTR §3.2).

    V is divided by its length and multiplied back, so that half precision does not overflow.
    """
    query, key = F.elu(query) + 1, F.elu(key) + 1
    if query_mask is not None:
        query = query * query_mask[:, None, :, None]
    if key_mask is not None:
        key = key * key_mask[:, None, :, None]
    length = value.shape[-2]
    summary = key.transpose(-1, -2) @ (value / length)
    norm = query @ key.sum(-2, keepdim=True).transpose(-1, -2)
    return query @ summary / (norm + 1e-6) * length


ATTENTION = {"full": full_attention, "linear": linear_attention}
