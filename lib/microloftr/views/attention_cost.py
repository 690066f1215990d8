"""What attention costs as the image grows: products and memory counted, time taken by one layer, and formulas.

Sizes are those of the published layer: C = 256 channels in 8 heads of D = 32, on L = (side/8)² cells of each image.
"""

import statistics
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from microloftr.model.attention import full_attention, linear_attention
from microloftr.model.presets import COARSE_STRIDE, PRESETS
from microloftr.model.sine_transformer import PublishedLayer

CHANNELS, HEADS = PRESETS["loftr"].dim, PRESETS["loftr"].heads
FUSED, WRITTEN, LINEAR, REST = "full, fused", "full, written out", "linear", "rest of the layer"


@dataclass(frozen=True)
class Formula:
    """Products and numbers held by one kind of attention on L cells of C channels in `heads` heads, one image."""

    products: Callable[[int, int, int], float]
    held: Callable[[int, int, int], float]


FORMULAS = {
    "full": Formula(lambda n, c, heads: 2 * n * n * c, lambda n, c, heads: heads * n * n),
    "linear": Formula(lambda n, c, heads: 2 * n * c * (c // heads) + n * c, lambda n, c, heads: c * (c // heads)),
    # three levels; the best 32 and 16 of each are looked into, four children each
    "quadtree": Formula(
        lambda n, c, heads: 2 * c * ((n / 16) ** 2 + 32 * n + 4 * 16 * n), lambda n, c, heads: heads * 4 * 16 * n
    ),
    # every 4 × 4 cells are one
    "aggregated": Formula(lambda n, c, heads: 2 * c * (n / 16) ** 2, lambda n, c, heads: heads * (n / 16) ** 2),
    # windows, or neighbourhoods, of 7 × 7 cells
    "windowed": Formula(lambda n, c, heads: 2 * c * 49 * n, lambda n, c, heads: heads * 49 * n),
    "rest": Formula(lambda n, c, heads: 10 * n * c * c, lambda n, c, heads: 4 * n * c),
}


@dataclass(frozen=True)
class Cost:
    """One kind at one size: the image's side in pixels, L cells, products, bytes held at once at most."""

    kind: str
    side: int
    cells: int
    products: int | None  # None for a fused kernel, which does those of the written-out form but shows none
    bytes: int


class Counting(TorchDispatchMode):
    """While open: `products` of matrix products, and `peak`, the most bytes that tensors made inside held at once.

    Every tensor that torch makes is seen, and when it is let go. Of a fused kernel neither its products nor what it
    keeps for itself is seen: a tile of the weights, which does not grow with the image.
    """

    def __init__(self) -> None:
        super().__init__()
        self.products = self.now = self.peak = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        given = {tensor.untyped_storage().data_ptr() for tensor in _tensors((args, kwargs))}
        made = func(*args, **(kwargs or {}))
        if func.overloadpacket in (torch.ops.aten.mm, torch.ops.aten.bmm):
            self.products += made.numel() * args[0].shape[-1]
        for tensor in _tensors(made):
            storage = tensor.untyped_storage()
            place, size = storage.data_ptr(), storage.nbytes()
            if size and place not in given | self.known:
                self.known.add(place)
                self.now += size
                weakref.finalize(storage, self._let_go, place, size)
        self.peak = max(self.peak, self.now)
        return made

    def _let_go(self, place: int, size: int) -> None:
        self.known.discard(place)
        self.now -= size


def work(kind: str, side: int, seed: int = 0) -> Callable[[], Tensor]:
    """A call of one kind of attention, or of the layer without its attention, on random cells of an image of `side`.

    FUSED and LINEAR run as at test time; WRITTEN is full attention as training runs it on a CPU.
    """
    cells = (side // COARSE_STRIDE) ** 2
    generator = torch.Generator().manual_seed(seed)
    if kind == REST:
        layer = PublishedLayer(CHANNELS, HEADS, "full").eval()
        layer.attend = lambda query, key, value, *masks: value
        x = torch.randn(1, cells, CHANNELS, generator=generator)
        return torch.no_grad()(lambda: layer(x, x, None, None))
    attend = linear_attention if kind == LINEAR else full_attention
    query, key, value = torch.randn(3, 1, HEADS, cells, CHANNELS // HEADS, generator=generator)
    if kind == WRITTEN:
        query.requires_grad_()
        return lambda: attend(query, key, value)
    return torch.no_grad()(lambda: attend(query, key, value))


def count(kind: str, side: int) -> Cost:
    """Products and memory of one call on a square image of `side` pixels."""
    call = work(kind, side)
    with Counting() as counting:
        call()
    products = None if kind == FUSED else counting.products
    return Cost(kind, side, (side // COARSE_STRIDE) ** 2, products, counting.peak)


def seconds(kind: str, side: int, repeats: int = 3, at_least: float = 0.2) -> list[float]:
    """Times of `repeats` calls or more, until they sum to `at_least` seconds, after one call that warms up.

    On one thread: several wait for each other, and on a busy machine the wait is what would be measured.
    """
    call, threads = work(kind, side), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        call()
        taken: list[float] = []
        while len(taken) < repeats or sum(taken) < at_least:
            started = time.perf_counter()
            call()
            taken.append(time.perf_counter() - started)
    finally:
        torch.set_num_threads(threads)
    return taken


@dataclass(frozen=True)
class Ratio:
    """How many times as long one takes as the other: least over least; from least over median to median over least."""

    value: float
    low: float
    high: float


def ratio(slow: Sequence[float], fast: Sequence[float]) -> Ratio:
    """The ratio of two sets of repeated times. What disturbs a run only makes it longer: the least is the truest."""
    return Ratio(min(slow) / min(fast), min(slow) / statistics.median(fast), statistics.median(slow) / min(fast))


def _tensors(tree: object) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]
