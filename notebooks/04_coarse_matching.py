# %% [markdown]
# # Which cell of one image shows the same place as which cell of the other?
#
# After the transformer every coarse cell, 8 × 8 pixels, carries a descriptor that knows both images. Coarse matching
# compares all cells of image_0 with all cells of image_1 and keeps the pairs of which both cells are sure. This
# notebook looks at the matrix of all comparisons, at the rules that choose from it, and at what happens where they are
# hard pressed: at the border, with ties, and with nothing to match.
#
# | parameter | meaning |
# |---|---|
# | `level` | of the made pairs: `easy`, `medium`, `hard`, `extreme` |
# | `count` | how many of them; the first ones are of different micrographs |
# | `threshold` | least confidence of a match |
# | `border` | cells left out at every edge, as LoFTR does with 2 |

# %% tags=["parameters"]
level = "medium"
count = 16
threshold = 0.1
border = 2

# %%
from literate.parameters import check_parameters
from microloftr.errors import ParameterError

check_parameters("04_coarse_matching", globals())
if not (2 <= count <= 48 and 0 <= threshold < 1 and 0 <= border <= 8):
    raise ParameterError("count must be 2 to 48, threshold at least 0 and below 1, border 0 to 8.")

# %% [markdown]
# ## Small first
#
# A crop of 80 × 80 pixels, and the same specimen turned by 12° and shifted. Both presets give a matrix with a row for
# each cell of image_0 and a column for each cell of image_1. `micro` is trained; `loftr` has random weights here, so
# that only its shapes say something.

# %%
import torch

from microloftr import Matcher
from microloftr.model.weights import random_model
from microloftr.views.case import demo_case, shapes_of
from microloftr.views.coarse_cases import small_case

torch.manual_seed(0)
matcher = Matcher.from_pretrained("micro", device="cpu")
demo = demo_case(matcher.model, threshold)
models = {"loftr": random_model("loftr"), "micro": matcher.model}
with torch.inference_mode():
    small = {
        name: small_case(model, demo.image_0, (190, 150), 80, 12.0, (24.0, -8.0)) for name, model in models.items()
    }
letters = {"coarse_0": "B, C, h, w", "coarse_1": "B, C, h, w", "log_confidence": "B, L0, L1",
           "matchability_0": "B, L0", "cells_0": "M", "confidence": "M"}  # fmt: skip
shapes = {name: shapes_of(case) for name, case in small.items()}
print(f"{'':16}{'letters':14}" + "".join(f"{name:20}" for name in small))
for name, letter in letters.items():
    print(f"{name:16}{letter:14}" + "".join(f"{shapes[preset].get(name, '–')!s:20}" for preset in small))

# %% [markdown]
# Both take the softmax of a similarity along the rows and along the columns and multiply the two, so that a pair of
# cells is likely only if each prefers the other. They differ in the similarity:
#
# | | `loftr`, as published | `micro` |
# |---|---|---|
# | similarity | inner product / C, divided by a temperature | cosine of projected descriptors × a learned scale |
# | a cell without a partner | spreads its 1 over the others all the same | lowers its row by its *matchability* |

# %%
for name, case in small.items():
    matrix = case.trace.log_confidence[0].exp()
    how = case.model.coarse_matching
    factor = 1 / how.TEMPERATURE if name == "loftr" else float(how.log_scale.detach().exp())
    sums = matrix.sum(1)
    assert matrix.min() >= 0 and sums.max() <= 1 + 1e-5 and matrix.sum(0).max() <= 1 + 1e-5
    print(f"{name}: similarity × {factor:.1f}; a row sums to {sums.min():.3f} … {sums.max():.3f}, never above 1")

# %% [markdown]
# ## The matrix of a known warp
#
# The matrix of the trained `micro`. Each dash is a piece of a row of the grid: cells beside one another in image_0 lie
# beside one another in image_1, until the turn carries them into the next row. Outside the overlap there is no square,
# and little confidence.

# %% tags=["figure:coarse_matrix"]
from microloftr.training.supervision import supervise
from microloftr.views.coarse_figures import draw_border, draw_matrix, draw_nothing, draw_rules, draw_ties
from microloftr.views.figures import show

true_cells = supervise(small["micro"].batch).cells_1[0]
show(draw_matrix(small["micro"], true_cells.numpy()), "png")

# %%
row_best = small["micro"].trace.log_confidence[0].argmax(1)
known = true_cells >= 0
agree = int((row_best == true_cells)[known].sum())
print(f"{agree} of {int(known.sum())} rows with a true partner have their maximum there")
assert agree > 0.8 * int(known.sum())

# %% [markdown]
# ## The rules, and what each does
#
# All rules fit on one screen. There are no loops and no masks of padding where nothing is padded: two maxima, one
# comparison, one `nonzero`.

# %%
import inspect

from literate.questions import answer
from microloftr.model import coarse_matching

listing = inspect.getsource(coarse_matching.select)
print(listing)
whole = inspect.getsource(coarse_matching)
answer(
    "Q16",
    "Yes: from the confidence matrix to matched cells it takes {value} lines, documentation included, one of them "
    "`nonzero`; with both softmaxes, masks and border the published coarse matching has {module} lines.",
    value=len(listing.splitlines()),
    unit="lines",
    more={"module": len(whole.splitlines())},
)
assert listing.count("nonzero") == 1 and len(listing.splitlines()) <= 50  # a screen

# %% [markdown]
# The same numbers on real micrographs, made into pairs of known truth: how many matches each rule leaves, and how many
# of those lie within a cell of the truth, before refinement.

# %% tags=["figure:coarse_rules"]
import numpy as np

from microloftr.data.fixed import fixed_pairs
from microloftr.images import Image
from microloftr.views.case import trace_case
from microloftr.views.coarse_study import candidates, ties, transform_of, windows

pairs = fixed_pairs(level, limit=count)
cases = []
for k in range(len(pairs)):
    both = (Image(images[k] / np.float32(255), None, level) for images in (pairs.images_0, pairs.images_1))
    cases.append(trace_case(matcher.model, *both, pairs.homography[k], threshold))
table = candidates(cases)
show(draw_rules(table, threshold, matcher.options.threshold), "png")

# %%
print(f"{len(pairs)} pairs of level {level}, threshold {threshold:g}")
print("rule                 matches   right   share a cell of image_1")
rules = {"best of its row": {"mutual": False}, "mutual": {}, f"mutual, border {border}": {"border": border}}
for name, rule in rules.items():
    kept = table.kept(threshold, **rule)
    print(f"{name:20}{int(kept.sum()):8}{table.share_right(kept):8.1%}{table.sharing(kept):10}")
assert table.sharing(table.kept(0.0)) == 0  # mutual: one to one
assert table.kept(threshold).sum() == sum(len(case.trace.coarse_matches.cells_0) for case in cases)

# %% [markdown]
# The threshold does nearly all the cleaning. Where it is high, the mutual check changes little in the share that is
# right; what it gives is that no cell is used twice, which refinement cannot mend: it moves the point of image_1 alone.
#
# ## The border
#
# LoFTR leaves out the two outermost cells on every side, where the network has seen padding instead of specimen, and
# pads the windows of its refinement with zeros where they are cut. Here nothing is left out, and what lies outside an
# image is masked. Which is better?

# %% tags=["figure:coarse_border"]
found = windows(cases)
show(draw_border(found), "png")

# %%
from microloftr.evaluation.metrics import bootstrap_interval, corner_error

right, cut = found.right, found.right & (found.cut > 0)
if not cut.any():
    raise ParameterError(f"The first {count} pairs of level {level} have no right match at the border; ask for more.")


def corner_errors(cells: int) -> np.ndarray:
    """Of the transform of each pair, in px; one that is not found counts as the width of the image."""
    found = [transform_of(case, cells) for case in cases]
    both = zip(found, cases, strict=True)
    errors = [corner_error(t and t.matrix, case.homography, case.image_0.pixels.shape[::-1]) for t, case in both]
    return np.minimum(errors, cases[0].image_0.pixels.shape[1])


print("border   right matches   wrong   median px of right ones   median corner error of the transforms, px")
corners = {}
for cells in sorted({0, 1, 2, border}):
    inside, corners[cells] = found.ring >= cells, corner_errors(cells)
    error = np.median(found.masked[right & inside]) if (right & inside).any() else float("nan")
    print(f"{cells:6}{int((right & inside).sum()):16}{int((~right & inside).sum()):8}{error:26.2f}"
          f"{np.median(corners[cells]):21.2f}")  # fmt: skip


# %%
def lost(chosen: np.ndarray) -> float:
    """Per cent of the right matches of these pairs, a pair counted as often as it is named."""
    rows = np.concatenate([np.flatnonzero(found.pair == k) for k in chosen])
    return 100 * found.lost(border, rows)


low, high = bootstrap_interval(lost, pairs.specimen)
answer(
    "Q11",
    "Masking {border} cells at every edge, as LoFTR does, loses {value:.1f} % ({low:.1f} to {high:.1f}) of the right "
    "matches, and takes the median corner error of the transforms from {before:.2f} to {after:.2f} px, but {better} of "
    "{n} pairs get better and {worse} worse, which decides nothing; where a window is cut, masking what lies outside "
    "gives {masked:.2f} px, zero padding {padded:.2f} px.",
    value=lost(np.arange(len(pairs))),
    unit="%",
    interval=[float(np.ravel(low)[0]), float(np.ravel(high)[0])],
    n=len(pairs),
    more={
        "before": np.median(corners[0]),
        "after": np.median(corners[border]),
        "after_one": np.median(corners[1]),
        "better": int((corners[border] < corners[0]).sum()),
        "worse": int((corners[border] > corners[0]).sum()),
        "lost_one": 100 * found.lost(1),
        "masked": np.median(found.masked[cut]),
        "padded": np.median(found.padded[cut]),
        "cut": int(cut.sum()),
        "edge": np.median(found.masked[right & (found.ring == 0)]),
        "inside": np.median(found.masked[right & (found.ring >= border)]),
        "wrong_at_edge": 100 * float((~right)[found.ring == 0].mean()),
        "wrong_inside": 100 * float((~right)[found.ring >= border].mean()),
    },
    settings={"border": border},
)

# %% [markdown]
# At the outermost cell more matches are wrong, and right ones are less exact; one cell further in that is over. The cut
# windows are not to blame: matches at an edge of image_0 alone, whose windows are whole, are no better. Presumably the
# features suffer where half of what they look at is missing. The robust fit throws the wrong ones out; whether the
# transform gains, so few pairs do not decide. `Matcher` leaves the border in: the overlap of two tiles may be nothing
# but border.
#
# ## Ties
#
# LoFTR marks where an entry is the maximum of its row and of its column, and takes `mask.max(dim=2)`: the first mark of
# each row. With exact ties a row or a column holds several marks. Six cells of the demo pair, tied on purpose:

# %% tags=["figure:coarse_ties"]
from microloftr.views.coarse_cases import nothing_pairs, tie_cases
from microloftr.views.coarse_study import first_of_row, mutual_mask

least = 0.01
with torch.inference_mode():
    tied = {name: matcher.model.coarse_matching(*maps).log_confidence for name, maps in tie_cases(demo).items()}
show(draw_ties(tied, least), "png")

# %%
kept_twice, most, how_often = 0, [], {1: "once", 2: "twice"}
for name, log_confidence in tied.items():
    marks = (mutual_mask(log_confidence) & (log_confidence.exp() > least))[0]
    _, columns = first_of_row(marks)
    ours = coarse_matching.select(log_confidence, (1, 6), (1, 6), least)
    most.append(int(columns.bincount().max()))
    kept_twice += len(ours.cells_1) - len(ours.cells_1.unique())
    assert len(ours.cells_1) <= len(columns) <= marks.sum()  # which marks are tied depends on how sums are rounded
    print(f"{name}: mask.max gives a cell of image_1 away {how_often.get(most[-1], 'many times')}, select once")
assert kept_twice == 0
kinds = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
rounded = {name: ties(cases, kind, threshold) for name, kind in kinds.items()}
print(f"{len(pairs)} pairs of micrographs (marks, of them tied): {rounded}")
assert rounded["float32"][1] <= 0.001 * rounded["float32"][0]  # what the claim rests on
marks, ties_bfloat16 = rounded["bfloat16"]
answer(
    "Q14",
    "Hardly: on {n} pairs of micrographs {ties_float32} of {marks} marks share their row or column in float32, {value} "
    "in bfloat16; and where ties are made on purpose `mask.max` keeps one cell of image_1 up to {most} times, while "
    "`select` keeps one match per cell.",
    value=ties_bfloat16,
    unit="tied marks",
    n=len(pairs),
    more={"marks": rounded["float32"][0], "ties_float32": rounded["float32"][1], "most": max(most)},
)

# %% [markdown]
# A row with two marks costs `mask.max` nothing but a choice. A *column* with two is the trouble: each row keeps its
# mark, and one cell of image_1 gets two partners. `select` compares indices instead of values, so that of equals the
# first counts, in rows and columns alike.
#
# ## Nothing to match
#
# Blank images, two halves of one micrograph with a single column of pixels in common, and specimens that have nothing
# to do with each other. The whole `Matcher` gets them, with its search over four turns.

# %% tags=["figure:coarse_nothing"]
from microloftr.views.coarse_figures import Nothing

rows = []
for name, pixels in nothing_pairs(pairs.images_0[:10], pairs.images_1[:10]).items():
    matches = matcher.match(*pixels)
    transform = matches.estimate()
    assert matches.points_0.shape == matches.points_1.shape == (len(matches), 2)
    assert matches.points_0.dtype == np.float64 and matches.confidence.shape == (len(matches),)
    rows.append(Nothing(name, *pixels, len(matches), transform is not None))
blank, sharing = rows[:2], [row for row in rows if row.title.startswith("one column")]
unrelated = [row for row in rows if row.title.startswith("unrelated")]
assert all(row.matches == 0 and not row.transform for row in blank)
assert len(blank) + len(sharing) + len(unrelated) == len(rows)
show(draw_nothing([*blank, *sharing[:2], max(unrelated, key=lambda row: row.matches)]), "png")

# %% [markdown]
# In training too nothing must not break: the published means over no cell at all are NaN, and one NaN ends a run. Ours
# count what there is, and at least one.

# %%
from microloftr.data.pairs import PairBatch
from microloftr.training.step import LossWeights, pair_loss

images_0, images_1 = (
    torch.from_numpy(np.stack([getattr(row, f"image_{k}") for row in (rows * 2)[:4]]))[:, None] for k in (0, 1)
)
far_away = torch.eye(3, dtype=torch.float64).repeat(4, 1, 1)
far_away[:, 0, 2] = 1e4  # the truth: image_1 lies 10 000 pixels beside image_0
zeros = torch.zeros(4)
batch = PairBatch(images_0, images_1, far_away, torch.zeros(4, 2, 2, 2), zeros, zeros, zeros)
step = pair_loss(matcher.model, batch, LossWeights(), torch.Generator().manual_seed(0))
step.loss.backward()
gradients = [p.grad for p in matcher.model.parameters() if p.grad is not None]
print({name: round(float(part), 3) for name, part in step.parts.items()})
assert torch.isfinite(step.loss) and all(torch.isfinite(g).all() for g in gradients)
assert step.parts["coarse"] == 0 and step.parts["matchability"] > 0
matcher.model.zero_grad()

# %%
from scipy.stats import binomtest

tried = sharing + unrelated  # the blank ones cannot fail
transforms = sum(row.transform for row in tried)
exact = binomtest(transforms, len(tried)).proportion_ci(method="exact")
empty = matcher.model(images_0[:1], images_1[:1], threshold=0.999)
assert empty.points_0.shape == empty.points_1.shape == (0, 2) and empty.confidence.shape == (0,)
answer(
    "Q04",
    "Yes: no match is an empty array of shape {shape}, {blank} of {blanks} blank pairs give a transform, and the "
    "training loss stays finite at {loss:.2f}; but of {n} pairs that share nothing ({unrelated}) or one column of "
    "pixels ({sharing}) {value} got a transform all the same; at most {most} matches were found in any.",
    value=transforms,
    unit="pairs with a transform",
    interval=[exact.low * len(tried), exact.high * len(tried)],
    n=len(tried),
    more={
        "blank": sum(row.transform for row in blank),
        "blanks": len(blank),
        "unrelated": len(unrelated),
        "sharing": len(sharing),
        "most": max(row.matches for row in rows),
        "shape": str(tuple(empty.points_0.shape)),
        "loss": float(step.loss.detach()),
    },
)

# %% [markdown]
# ## Explore
#
# The demo pair and one of its cells. Run this notebook in JupyterLab (`make lab`) and click another cell of image_0;
# move threshold and border. This picture is the same figure, standing still: the match of middle confidence.

# %% tags=["figure:coarse_explorer"]
from microloftr.views.explorers.coarse import View, draw_explorer, explore

surest = demo.trace.coarse_matches
middle = int(surest.cells_0[surest.confidence.argsort()[len(surest.cells_0) // 2]])
view = View(middle, threshold, border=0)
show(draw_explorer(demo, view), "png")

# %%
explore(demo, view)

# %% [markdown]
# ## The answer
#
# The cells that are each other's most probable partner, with a confidence above the threshold. The threshold decides
# how much is right, the mutual check that every cell is used once, ties included. A border changes little; what it
# costs are matches where tiles overlap. And where nothing matches, no match is an answer like any other; specimens full
# of things that look alike are the exception, and there the transform has to be looked at.
