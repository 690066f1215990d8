"""Attention looked into: where a cell of a real pair looks, in every layer, taken from the model's own pass."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from microloftr.errors import ParameterError
from microloftr.geometry import cell_points
from microloftr.model.attention import ATTENTION
from microloftr.model.loftr import LoFTR
from microloftr.model.presets import COARSE_STRIDE
from microloftr.views.case import Case

NEAR = 24.0  # pixels: three cells


@dataclass(frozen=True, eq=False)
class Call:
    """One call of attention in a pass: query (B, heads, L0, D), key and value (B, heads, L1, D), turned already."""

    layer: str  # the layer's name in the transformer, such as self_layers.0
    query: Tensor
    key: Tensor
    value: Tensor
    answer: Tensor  # (B, heads, L0, D)


@contextmanager
def recorded(transformer: nn.Module) -> Iterator[list[Call]]:
    """While open, every call of attention in `transformer` is kept, in order; what it computes does not change.

    A cross layer calls twice: image_0's cells ask those of image_1, then the other way round; so does a self layer,
    once for each image.
    """
    calls: list[Call] = []
    layers = {name: layer for name, layer in transformer.named_modules() if hasattr(layer, "attend")}
    before = {name: layer.attend for name, layer in layers.items()}

    def keeping(name: str):
        def attend(query: Tensor, key: Tensor, value: Tensor, *masks: Tensor | None) -> Tensor:
            answer = before[name](query, key, value, *masks)
            calls.append(Call(name, query, key, value, answer))
            return answer

        return attend

    try:
        for name, layer in layers.items():
            layer.attend = keeping(name)
        yield calls
    finally:
        for name, layer in layers.items():
            layer.attend = before[name]


def attention_weights(query: Tensor, key: Tensor, kind: str = "full") -> Tensor:
    """How much each asking cell takes of each asked one: (…, L0, D) and (…, L1, D) → (…, L0, L1); rows sum to 1.

    full: softmax(QKᵀ/√D); linear: φ(Q)φ(K)ᵀ with φ = elu + 1, divided by its sum, which linear attention never writes
    out. Times the values it is what `ATTENTION[kind]` answers.
    """
    if kind not in ATTENTION:
        raise ParameterError(f"There is no attention {kind!r}; there are {', '.join(ATTENTION)}.")
    if kind == "full":
        return (query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5).softmax(-1)
    products = (F.elu(query) + 1) @ (F.elu(key) + 1).transpose(-1, -2)
    return products / products.sum(-1, keepdim=True)


def cells_for_half(weights: Tensor) -> Tensor:
    """The least number of cells that hold half of each row's weight: (…, L) → (…,); 1 is sharp, L/2 is no choice."""
    ordered = weights.sort(-1, descending=True).values.cumsum(-1)
    return (ordered < 0.5).sum(-1) + 1


@dataclass(frozen=True)
class Look:
    """How one head of one layer looks at a pair, averaged over cells of the overlap.

    `half`: cells that hold half of a cell's weight; `half_linear`: the same queries and keys under linear attention;
    `near`: share of the weight within NEAR pixels of the cell itself (self) or of where it truly lies (cross);
    `chance`: what `near` would be if the cell looked at all cells alike.
    """

    layer: int  # from 1 on
    kind: str  # self or cross
    head: int  # from 1 on
    half: float
    half_linear: float
    near: float
    chance: float


def asked_by_image_0(calls: list[Call]) -> list[Call]:
    """Of a pass over one pair, the calls in which the cells of image_0 ask: each layer's first."""
    return calls[::2]


def overlap_cells(case: Case, every: int = 16) -> Tensor:
    """The flat cells (K,) of image_0 that image_1 shows, one of `every`."""
    height, width = case.image_1.pixels.shape
    true = case.true_points(_points(case.trace.encoded.coarse_0).numpy())
    inside = ((true >= 0) & (true <= np.array([width, height]) - 1)).all(1)
    return torch.from_numpy(np.flatnonzero(inside)[::every])


def looks(case: Case, calls: list[Call]) -> list[Look]:
    """One row for every layer, kind and head, from the calls of the pass that made `case`."""
    cells = overlap_cells(case)
    points_0, points_1 = _points(case.trace.encoded.coarse_0), _points(case.trace.encoded.coarse_1)
    true = torch.from_numpy(case.true_points(points_0.numpy()))
    rows = []
    for call in asked_by_image_0(calls):
        kind, layer = kind_of(call)
        centre, others = (points_0, points_0) if kind == "self" else (true, points_1)
        close = torch.cdist(centre[cells], others) <= NEAR
        query = call.query[0][:, cells]
        full, linear = (attention_weights(query, call.key[0], name) for name in ("full", "linear"))
        near, half, half_linear = (full * close).sum(-1).mean(-1), _half(full), _half(linear)
        rows += [
            Look(layer, kind, head + 1, half[head], half_linear[head], float(near[head]), float(close.float().mean()))
            for head in range(len(near))
        ]
    return rows


def sharpest(rows: list[Look], layer: int, kind: str) -> Look:
    """The head of a layer that needs the fewest cells for half of its weight."""
    return min((row for row in rows if (row.layer, row.kind) == (layer, kind)), key=lambda row: row.half)


def kind_of(call: Call) -> tuple[str, int]:
    """self or cross, and the layer's number from 1 on, of a call in `micro`'s transformer."""
    name, number = call.layer.split(".")
    return name.removesuffix("_layers"), int(number) + 1


def shapes(model: LoFTR, image_0: Tensor, image_1: Tensor) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Name → letters and shape of what passes through a model's transformer, from a pass over (B, 1, H, W) images."""
    with torch.inference_mode(), recorded(model.transformer) as calls:
        trace = model.eval().trace(image_0, image_1)
    cross = next(call for call in calls if call.query.shape[-2] != call.key.shape[-2])
    weights = attention_weights(cross.query, cross.key, model.config.attention)
    return {
        "image_0": ("B, 1, H, W", tuple(image_0.shape)),
        "coarse cells of image_0": ("B, C, h, w", tuple(trace.encoded.pyramid_0.eighth.shape)),
        "query of image_0": ("B, heads, L0, D", tuple(cross.query.shape)),
        "key, value of image_1": ("B, heads, L1, D", tuple(cross.key.shape)),
        "answer": ("B, heads, L0, D", tuple(cross.answer.shape)),
        "weights, all with all": ("B, heads, L0, L1", tuple(weights.shape)),
        "coarse_0": ("B, C, h, w", tuple(trace.encoded.coarse_0.shape)),
    }


def table(columns: dict[str, dict[str, tuple[str, tuple[int, ...]]]]) -> str:
    """The shapes of several models side by side, as text."""
    names = list(columns)
    rows = [("", "letters", *names)]
    for name, (letters, _) in columns[names[0]].items():
        rows.append((name, f"({letters})", *(" × ".join(map(str, columns[column][name][1])) for column in names)))
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def looks_table(rows: list[Look]) -> str:
    """One line for each layer and kind: its sharpest head, and how much of its weight lies near."""
    lines = ["layer  kind   sharpest head  half of the weight in  near    were all alike"]
    for layer, kind in dict.fromkeys((row.layer, row.kind) for row in rows):
        row = sharpest(rows, layer, kind)
        cells = f"{row.half:.0f} cells"
        lines.append(
            f"{layer:<5}  {kind:<5}  {row.head:<13}  {cells:21}  {100 * row.near:4.1f} %  {100 * row.chance:.1f} %"
        )
    return "\n".join(lines)


def order_matters(model: LoFTR, cells_0: Tensor, cells_1: Tensor) -> float:
    """How much cells (1, C, h, w) of image_0 change when the images are exchanged, in units of the result's spread."""
    with torch.inference_mode():
        one, _ = model.eval().transformer(cells_0, cells_1)
        _, other = model.transformer(cells_1, cells_0)
    return _difference(one, other)


def place_matters(
    model: LoFTR, features: Tensor, canvas: int, places: tuple[tuple[int, int], tuple[int, int]]
) -> float:
    """How much cells (1, C, h, w) change when they lie elsewhere in an otherwise empty image of canvas × canvas cells.

    `places` are the (row, column) of their first cell; the empty rest is masked. In units of the result's spread.
    """
    results = []
    height, width = features.shape[-2:]
    for row, column in places:
        whole = features.new_zeros(*features.shape[:2], canvas, canvas)
        mask = torch.zeros(canvas, canvas, dtype=torch.bool)
        whole[..., row : row + height, column : column + width] = features
        mask[row : row + height, column : column + width] = True
        with torch.inference_mode():
            after, _ = model.eval().transformer(whole, whole, mask.flatten()[None], mask.flatten()[None])
        results.append(after[..., row : row + height, column : column + width])
    return _difference(*results)


def _difference(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max() / one.std())


def _half(weights: Tensor) -> list[float]:
    return cells_for_half(weights).float().mean(-1).tolist()


def _points(coarse: Tensor) -> Tensor:
    """Centres (L, 2) of the cells of a map, in pixels."""
    height, width = coarse.shape[-2:]
    return cell_points(torch.arange(height * width), width, COARSE_STRIDE).double()
