# %% [markdown]
# # How do cells look at each other, and what does it cost as the image grows?
#
# Every cell asks a question (its query), every cell it may look at offers a key and a value, and it takes of each value
# as much as the key fits the question. **Full** attention compares all L cells with all: L² comparisons. **Linear**
# attention, LoFTR's, sums the keys and values up first and asks the sum: it grows as L, but singles cells out badly.

# %% tags=["parameters"]
sides = [128, 192, 256, 384, 512, 640]
largest_written_out = 384
repeats = 3

# %%
from literate.parameters import check_parameters
from microloftr.errors import ParameterError

check_parameters("03_attention", globals())
if len(sides) < 2 or min(sides) < 64 or sides != sorted(set(sides)) or largest_written_out not in sides or repeats < 1:
    raise ParameterError("sides must rise from 64 or more and hold largest_written_out; repeats must be above 0.")

# %% [markdown]
# ## Small first
#
# Two pieces of a micrograph, 8 × 10 and 8 × 8 cells, through `loftr` (random weights: the published ones need a
# download) and trained `micro`. B pairs, C channels split into heads of D, L0 and L1 cells.

# %%
from microloftr import Matcher
from microloftr.model.weights import random_model
from microloftr.views.attention_study import attention_weights, order_matters, place_matters, recorded, shapes, table
from microloftr.views.case import as_batch, demo_case

micro, loftr = Matcher.from_pretrained("micro").model.cpu(), random_model("loftr", seed=0)
with recorded(micro.transformer) as calls:  # keeps what each attention of the pass is given; changes nothing
    case = demo_case(micro)
piece_0, piece_1 = as_batch(case.image_0)[..., :64, :80], as_batch(case.image_1)[..., :64, :64]
print(table({"loftr": shapes(loftr, piece_0, piece_1), "micro": shapes(micro, piece_0, piece_1)}))

# %% [markdown]
# One question, three keys, by both kinds. The first key fits best. `softmax(QKᵀ/√D)` prefers it as strongly as the
# network likes, by the length of Q; `φ(Q)φ(K)ᵀ` with φ = elu + 1 grows only as fast as its product. Times the values,
# the weights give what the model's own functions answer; linear attention never writes them out.

# %%
import torch

from microloftr.model.attention import ATTENTION

query = torch.tensor([[2.0, 0.0]])
key = torch.tensor([[2.0, 0.0], [0.0, 2.0], [-2.0, 0.0]])
value = torch.eye(3, 2)
for kind, attend in ATTENTION.items():
    for longer in (1, 5):
        weights = attention_weights(longer * query, key, kind)
        answered = attend(longer * query[None, None], key[None, None], value[None, None])[0, 0]
        torch.testing.assert_close(weights @ value, answered)
        print(f"{kind:6}  question × {longer}:  {'  '.join(f'{float(w):.2f}' for w in weights[0])}")

# %% [markdown]
# Where the two differ: the order of the products. With the softmax between them, Q Kᵀ has to come first; without it,
# the brackets may be moved. The boxes are to scale for one head on an image of 128 × 128 px.

# %% tags=["figure:attention_products"]
from microloftr.views.attention_figures import draw_arrows, draw_costs, draw_products, draw_sharpness
from microloftr.views.figures import show

show(draw_products(cells=256, channels=32), "png")

# %% [markdown]
# ## `loftr` and `micro`
#
# | | `loftr`, as published | `micro` |
# |---|---|---|
# | attention | linear | full |
# | where a cell is | sines added once: an absolute place | rotations of Q and K in self-attention: distances only |
# | cross-attention | image_0 first, then image_1 reads what came of it | both read what was before |
# | a layer | 4 × (self, cross), 256 channels, 8 heads | 3 × (self, cross), 128 channels, 4 heads |
#
# So in `loftr` it matters which image comes first, and where in the image a specimen lies; in `micro` neither does.
# Measured: the largest change of a cell, in units of the cells' spread. Above 0.1 counts as changed, below 0.0001 as
# the same.

# %%
for name, model in {"loftr": loftr, "micro": micro}.items():
    with torch.inference_mode():
        cells_0, cells_1 = model.backbone(piece_0).eighth, model.backbone(piece_1).eighth
    order = order_matters(model, cells_0, cells_1)
    place = place_matters(model, cells_0, canvas=16, places=((0, 0), (7, 5)))
    print(f"{name}: images exchanged: {'changed' if order > 1e-4 else 'the same'}; ", end="")
    print(f"specimen elsewhere in the image: {'changed' if place > 1e-4 else 'the same'}")
    assert (order > 0.1 and place > 0.1) if name == "loftr" else (order < 1e-4 and place < 1e-4)

# %% [markdown]
# ## Where a cell looks
#
# The cell (white square) is the one in the middle of the overlap, chosen by place. Yellow: the twelve cells of its own
# image with the most weight; orange: those of image_1, where the ring marks the truth. Of each layer the sharpest head,
# with the share of the weight that the twelve hold.

# %% tags=["figure:attention"]
from microloftr.views.attention_study import asked_by_image_0, looks, looks_table, sharpest

rows = looks(case, calls)
show(draw_arrows(case, calls, rows), "png")

# %% [markdown]
# The same over the whole overlap. Near: within 24 px, three cells, of the cell itself (self) or of where it truly lies
# in image_1 (cross), each by its sharpest head. Self-attention spreads over hundreds of cells, few of them neighbours.
# Cross-attention finds the place in layers 1 and 2; the last layer looks there far less.

# %%
print(looks_table(rows))
best = max((row for row in rows if row.kind == "cross"), key=lambda row: row.near)
print(f"Best: layer {best.layer}, head {best.head} has {100 * best.near:.0f} % near the truth.")
assert best.near > 10 * best.chance

# %% [markdown]
# ## What linear attention does badly
#
# The same queries and keys of the first cross layer, once through the softmax and once through φ, for the same cell.
# The titles say in how many of 3000 cells half of a weight lies, a mean over the overlap. These queries and keys were
# trained with the softmax, so this is no fair race; but the L × L weights of φ have rank D at most: 32 patterns for
# 3000 cells.

# %% tags=["figure:attention_sharpness"]
first_cross = asked_by_image_0(calls)[1]
show(draw_sharpness(case, first_cross, rows), "png")
sharp = sharpest(rows, 1, "cross")
assert sharp.half_linear > 10 * sharp.half

# %% [markdown]
# ## What it costs
#
# One layer of the published size, one image, float32. Products are counted as torch makes them, and agree with the
# formulas: 2·L²·C and 2·L·C·D + L·C, 10·L·C² for the rest of the layer; full attention therefore costs more than all
# the rest from L = 5·C cells on. Memory is the most bytes that tensors hold at once, copies included. A fused kernel
# makes the same products tile by tile and never holds the L × L weights that training writes out: it needs less memory
# than linear attention, which holds φ(Q) and φ(K).

# %%
from microloftr.views.attention_cost import (
    CHANNELS,
    FORMULAS,
    FUSED,
    HEADS,
    LINEAR,
    REST,
    WRITTEN,
    count,
    ratio,
    seconds,
)

kinds = {WRITTEN: "full", FUSED: "full", LINEAR: "linear", REST: "rest"}
wanted = [(kind, side) for kind in kinds for side in sides if kind != WRITTEN or side <= largest_written_out]
costs = [count(kind, side) for kind, side in wanted]
for cost in costs:
    formula = FORMULAS[kinds[cost.kind]]
    assert cost.products in (None, formula.products(cost.cells, CHANNELS, HEADS))
    if cost.kind == WRITTEN:  # before and after the softmax, 4 bytes a number
        assert cost.bytes > 2 * 4 * formula.held(cost.cells, CHANNELS, HEADS)
crossing = 8 * (5 * CHANNELS) ** 0.5
print(f"Full attention costs more products than the rest of the layer from {crossing:.0f} × {crossing:.0f} px on.")

# %% tags=["timing", "figure:attention_cost"]
times = {(kind, side): seconds(kind, side, repeats) for kind, side in wanted}
show(draw_costs(costs, times), "png")

# %% [markdown]
# Time is the least of several runs on one thread of this machine. A fused kernel mends the memory, not the time.
#
# ## The answer

# %% tags=["timing"]
from literate.questions import answer

largest, written = costs[-1], max((cost for cost in costs if cost.kind == WRITTEN), key=lambda cost: cost.side)
fused, linear = times[FUSED, largest.side], times[LINEAR, largest.side]
longer = ratio(fused, linear)
cells = 60 * 80  # of an image of 640 × 480 px, on which the papers say their times
answer(
    "Q28",
    "Full attention compares all L cells with all (2·L²·C products), linear attention sums them up first (2·L·C·D): "
    "at {side} × {side} px one layer's attention takes {full_ms} ms full and {linear_ms} ms linear, {value} times as "
    "long; written out, full attention holds {written_mb} MB at {written_side} px already, in a fused kernel "
    "{fused_mb} MB even at {side} px.",
    value=longer.value,
    unit="times",
    interval=(longer.low, longer.high),
    n=len(fused),
    more={
        "side": largest.side,
        "full_ms": 1e3 * min(fused),
        "linear_ms": 1e3 * min(linear),
        "fused_mb": next(cost.bytes for cost in costs if (cost.kind, cost.side) == (FUSED, largest.side)) / 1e6,
        "linear_mb": next(cost.bytes for cost in costs if (cost.kind, cost.side) == (LINEAR, largest.side)) / 1e6,
        "written_mb": written.bytes / 1e6,
        "written_side": written.side,
        "crossing_px": crossing,
        "near": {"best": best.near, "chance": best.chance, "layer": best.layer, "head": best.head},
        "half": {"full": sharp.half, "linear": sharp.half_linear, "all": first_cross.key.shape[-2]},
        "products": {name: formula.products(cells, CHANNELS, HEADS) / 1e9 for name, formula in FORMULAS.items()},
        "held_mb": {name: 4 * formula.held(cells, CHANNELS, HEADS) / 1e6 for name, formula in FORMULAS.items()},
    },
)
