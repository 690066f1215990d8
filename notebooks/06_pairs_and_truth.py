# %% [markdown]
# # Where do training pairs come from, and what is true of them?
#
# Nobody can say by hand, to part of a pixel, which place of one micrograph is which place of another. So pairs are
# made: two crops of one micrograph, moved and changed as a second acquisition would be. What was done is known, and so
# is the truth. This notebook follows pairs from the micrograph to what the network sees and to the cells that it is
# taught, and asks three things on the way: can a second crop always be placed, what of cells that share one, and which
# cells should be refined in training?
#
# | parameter | meaning |
# |---|---|
# | `level` | of the pairs that are shown and measured: `easy`, `medium`, `hard`, `extreme` |
# | `seed` | which pairs of the level; the measurements keep their own |
# | `count` | pairs on which shared cells are measured |

# %% tags=["parameters"]
level = "medium"
seed = 0
count = 36

# %%
import numpy as np

from literate.parameters import check_parameters
from microloftr.data.levels import LEVELS
from microloftr.errors import ParameterError

check_parameters("06_pairs_and_truth", globals())
if level not in LEVELS or not 0 <= seed < 2**31 or not 12 <= count <= 96:
    raise ParameterError("level must be one of the four, seed 0 or more and count 12 to 96.")

# %% [markdown]
# ## Small first
#
# One pair of 64 × 64 px: the seed and the pair's number give about two hundred numbers, these give two crops and the
# homography between them, and that gives the true cell of every cell. The same numbers, the same pair.

# %%
from microloftr.data.fixed import split_atlas
from microloftr.data.pairs import make_pairs
from microloftr.training.supervision import supervise

atlas = split_atlas("validation")
small = make_pairs(atlas, "easy", 0, np.arange(1), 64)
small_truth = supervise(small)
print(f"images_0, images_1  B, 1, S, S   {tuple(small.images_0.shape)}")
print(f"homography          B, 3, 3      {tuple(small.homography.shape)}")
print(f"true cells_1        B, L0        {tuple(small_truth.cells_1.shape)}, -1 where there is none")
print(small_truth.cells_1[0].reshape(8, 8).numpy())
again = make_pairs(atlas, "easy", 0, np.arange(1), 64)
assert (again.images_1 == small.images_1).all() and (again.homography == small.homography).all()
matched = small_truth.cells_1[0][small_truth.cells_1[0] >= 0]
assert len(matched.unique()) == len(matched) > 0

# %% [markdown]
# ## The micrographs, split by specimen
#
# Pictures of one specimen look alike, so all of them stand in one split: training never sees a specimen that it is
# measured on. Everything here is drawn from the validation micrographs.

# %%
from microloftr.views.pairs_study import bundled

rows = bundled()
for split in ("train", "validation", "test", "lattice"):
    of_split = [row for row in rows if row["split"] == split]
    specimens, modalities = (len({row[name] for row in of_split}) for name in ("specimen", "modality"))
    print(f"{split:11}{len(of_split):4} micrographs of {specimens:3} specimens, {modalities:2} modalities")
assert len({row["specimen"] for row in rows}) == len({(row["specimen"], row["split"]) for row in rows})
assert len(atlas) == sum(row["split"] == "validation" for row in rows)

# %% [markdown]
# ## Warp and place: can it always be done?
#
# First the relation of both crops is drawn: turn, scale, shear, perspective, overlap. Both outlines together then make
# one figure, which is shifted about the micrograph as a whole. Where its corners stay inside is a box, computed in one
# line: the green one, for the centre of image_1. Draw the place in there, and it fits.
#
# The orange hatching is the other way: image_0 anywhere, image_1 where the warp takes it. What of it lies outside the
# white dashes sticks out. In the third even the best place would not do: the micrograph is too small at the zoom drawn,
# so the zoom was raised until there was a place.

# %% tags=["figure:pairs_placing"]
from microloftr.views.figures import show
from microloftr.views.pairs_figures import draw_placing
from microloftr.views.pairs_study import geometry_at

shown = {
    "turned 10°, scale 1": (3, 10.0, 1.0),
    "turned 35°, scale 0.8": (3, 35.0, 0.8),
    "no room: zoomed until it fits": (2, 35.0, 1.0),
}
placed = [geometry_at(atlas, "medium", 0, number, 320, turn, scale) for number, turn, scale in shown.values()]
show(draw_placing(atlas, placed, list(shown), 320), "png")

# %% [markdown]
# All kinds of warps, in all validation micrographs; a corner outside would be counted. `blind`: how many second crops
# would stick out the other way; `no room`: how many pairs had to be zoomed.

# %%
from microloftr.data.levels import TRAINING
from microloftr.views.pairs_study import place

draws = 400
kinds = {name: (given, 320) for name, given in LEVELS.items()}
kinds |= {f"train: {given.name}": (given, 144) for _, given in TRAINING}
drawn = {name: place(given, atlas.sizes, 1, draws, size) for name, (given, size) in kinds.items()}
print(f"{'':16} outside   blind   no room")
for name, placing in drawn.items():
    print(f"{name:16} {placing.outside:7} {placing.blind.mean():7.0%} {placing.raised.mean():9.0%}")
assert all(placing.outside == 0 for placing in drawn.values())
assert all(placing.blind.mean() > 0.1 for placing in drawn.values())

# %% [markdown]
# ## What the second crop goes through
#
# From the specimen to the detector: blur, light, tones, noise. Then the network's own first step, which takes
# brightness and contrast out again: once over the whole image, once around each pixel. Those two are all that it sees.

# %% tags=["figure:pairs_stages"]
import torch

from microloftr.model.weights import load_model, shipped
from microloftr.training.diagnostics.as_seen import as_seen
from microloftr.views.pairs_figures import draw_stages
from microloftr.views.pairs_study import pair_at, stages

model = load_model(shipped("micro"))
steps = stages(atlas, "hard", 0, 4, 160)
seen = as_seen(model, pair_at(atlas, "hard", 0, 4, 160))
assert torch.equal(list(steps.values())[-1], pair_at(atlas, "hard", 0, 4, 160).images_1)
show(draw_stages(steps, torch.from_numpy(seen.inputs_1)), "png")

# %% [markdown]
# Training adds more: defocus, charging, dust, other structures, bent sections, replaced content. The vault's note on
# appearance changes shows each.
#
# ## No shared fingerprint
#
# Both crops come from one file and would carry the same sensor noise, which a network could learn to match. Each crop
# is resampled and blurred by its own amount and gets noise of its own above what is left. The check: pairs of a
# micrograph that is nothing but noise. Patches of what is finest must not find each other, beyond chance.

# %%
from microloftr.training.diagnostics.residual import CHANCE, fingerprint, noise_pairs

as_made, bare = (fingerprint(noise_pairs("medium", renewed=renewed)) for renewed in (True, False))
print(f"of {as_made.n} patches {as_made.found:.1%} find each other, by chance {CHANCE:.1%}; "
      f"without the new noise {bare.found:.0%} of {bare.n}")  # fmt: skip
assert as_made.holds() and bare.found > 0.5

# %% [markdown]
# ## The truth of a pair
#
# The homography moves the centre of each cell of image_0. The cell of image_1 that is nearest to it is its match, if
# the way back returns: one to one. What the other image does not show is told to be unmatchable. The rest, the edges of
# the overlap and the cells whose match went to a neighbour, counts nowhere.

# %% tags=["figure:pairs_truth"]
from microloftr.views.pairs_figures import draw_truth

pair = make_pairs(atlas, "medium", 0, np.array([2]), 160)
truth = supervise(pair)
show(draw_truth(pair, truth), "png")
true_pairs = (truth.cells_1[0] >= 0).sum()
print(f"{true_pairs} of {truth.cells_1.shape[1] ** 2} entries of the matrix are true")
assert truth.cells_1[0].unique(return_counts=True)[1][1:].max() == 1  # no column twice
assert not (truth.unmatchable_0 & (truth.cells_1 >= 0)).any()

# %% [markdown]
# The same micrograph at the four levels, cells in the colour of their match:

# %% tags=["figure:pairs_levels"]
from microloftr.views.pairs_figures import draw_truths
from microloftr.views.pairs_study import together

same = together([make_pairs(atlas, name, 0, np.array([2]), 160) for name in LEVELS])
show(
    draw_truths(same, supervise(same), [f"{n}, {o:.0%} shared" for n, o in zip(LEVELS, same.overlap, strict=True)]),
    "png",
)

# %% [markdown]
# ## Where pairs are not just a homography
#
# Sections are bent, and some content is replaced. The truth knows both: the way back undoes the bend, and cells whose
# place shows something else are unmatchable. One such pair of the mixture that is trained on, among the first 60:

# %%
from microloftr.data.pairs import draw_parameters, true_points_0, true_points_1
from microloftr.geometry import grid_points

many = np.arange(60)
parameters = draw_parameters(atlas, "train", 0, many, 160)
bent = np.abs(parameters.displacement).max((1, 2, 3)) > 2
changed = many[bent & (parameters.changes.content > 0)]
print(
    f"of {len(many)} pairs {bent.sum()} are bent by more than 2 px; {len(changed)} of them show other content in places"
)
most = changed[np.abs(parameters.displacement[changed]).max((1, 2, 3)).argmax()]
section = make_pairs(atlas, "train", 0, np.array([most]), 160)
section_truth = supervise(section)
points = grid_points(20, 20, 8)[None]
there = true_points_1(points, section)
print(
    f"bent by up to {section.displacement.abs().max():.1f} px, other content over {section.replaced.float().mean():.0%}"
)
assert (true_points_0(there.float(), section) - points).abs().max() < 0.05
show(draw_truth(section, section_truth))

# %% [markdown]
# ## Several cells on one
#
# Where image_1 shows the specimen smaller, the centres of several cells of image_0 fall on the same cell of image_1.
# The dual softmax can be sure of one of them alone: of k cells that share one, each could have a confidence of 1/k at
# best. So truth keeps one, and the others count nowhere.

# %% tags=["figure:pairs_sharing"]
from microloftr.evaluation.shared_cells import sharing_at
from microloftr.geometry import nearest_cell
from microloftr.views.pairs_figures import draw_sharing
from microloftr.views.pairs_study import sharing

scales = 2 ** np.linspace(-1, 1, 17)
curves = {degrees: [sharing_at(float(scale), degrees) for scale in scales] for degrees in (0, 10, 20, 45)}
smaller = pair_at(atlas, "easy", 0, 2, 128, rotation=5, scale=0.65)
of_smaller = supervise(smaller)
counts = sharing(of_smaller.points_1, (16, 16))
show(draw_sharing(curves, smaller, counts, nearest_cell(of_smaller.points_1, 16, 16, 8)), "png")

half, same_scale, turned = sharing_at(0.5, 0), sharing_at(1.0, 0), sharing_at(1.0, 20)
for words, one in {"half the scale": half, "turned by 20°": turned}.items():
    print(f"{words}: {one.shared:.0%} of the cells share one, {one.kept:.0%} are kept")
assert same_scale.shared == 0 and same_scale.kept == 1  # a shift alone, of any size, makes none
assert abs(half.kept - 0.25) < 0.01 and all(one.shared == 0 for one in curves[0] if one.scale >= 1)

# %% [markdown]
# A problem for refinement? Every cell of image_0 is given the cell that its centre truly falls on, and `micro` refines
# it: cells alone on theirs, cells that share and are kept, cells that share and are left out. Then matching itself,
# without the mutual check: every cell takes its best partner, and partners are taken twice. All on pairs whose image_1
# is smaller.

# %%
from microloftr.evaluation.shared_cells import GROUPS, compare, judge

numbers = np.arange(4 * count)
scale = np.abs(np.linalg.det(draw_parameters(atlas, level, 7, numbers, 144).homography[:, :2, :2])) ** 0.5
smallest = np.sort(np.argsort(scale)[:count])
print(f"the {count} smallest of {len(numbers)} pairs, scale {scale[smallest].min():.2f} to {scale[smallest].max():.2f}")
batches = [make_pairs(atlas, level, 7, smallest[k : k + 12], 144) for k in range(0, count, 12)]
cells, matches = judge(model, batches, atlas.specimens, model.config.threshold)
for group in GROUPS:
    print(f"{group:9} {(cells.group == group).sum():6} cells, median error {cells.median(group):.2f} px")
compared = compare(cells)
for name, words in {"difference": "shared less alone", "left_out": "left out less kept"}.items():
    print(f"within a pair, {words}: {compared[name][0]:+.2f} px ({compared[name][1]:+.2f} to {compared[name][2]:+.2f})")
for group in ("mutual", "extra"):
    print(f"{group:7} matches {(matches.group == group).sum():6}, within 3 px: {matches.right(group):.0%}")
assert len(cells.error) > 1000 and (cells.group == "left out").any()
assert abs(compared["left_out"][0]) < 1  # px

# %% [markdown]
# Refinement looks for the centre of one cell of image_0 in a window of image_1. Another cell of image_0 that looks into
# the same window does not disturb it. The scale of a pair decides both how many share and how hard it is, so kinds are
# compared within a pair. What the mutual check drops at matching is points, not errors.
#
# ## Which cells should be refined in training?
#
# Notebook 05 shows the choices: true cells, moved ones, the model's own finds, or finds filled up with truth, as
# published. What each teaches was measured by one command, `python -m microloftr refined-cells`: fine stages trained
# with each rule on the same pairs, everything before them frozen, and judged on the same found cells of validation
# pairs. One stage started fresh, one from the shipped weights.

# %% tags=["figure:pairs_refined_cells"]
from microloftr.evaluation.cell_choices import RULES
from microloftr.results import read_result
from microloftr.views.pairs_figures import draw_refined_cells

record = read_result("refined_cells")["values"]
show(draw_refined_cells(record, RULES), "png")

# %%
print(f"{record['steps']} steps of {record['pairs_per_step']} pairs; judged on {record['matches']} found cells of "
      f"{record['pairs']} validation pairs, {record['beside']:.0%} of them one beside the truth")  # fmt: skip
print(f"median error in px: cells as found {record['before']['coarse']:.2f}, shipped {record['before']['shipped']:.2f}")
print(f"{'':46}{'fresh':30}{'from the shipped'}")
for rule, words in RULES.items():
    lines = []
    for start in ("fresh", "shipped"):
        row = record["trained"][start].get(rule)
        lines.append(
            f"{row['median']:.2f} ({row['median_low']:.2f}-{row['median_high']:.2f}) {row['verdict']}" if row else ""
        )
    print(f"{words:46}{lines[0]:30}{lines[1]}")
print("\nthe shipped stage on the cells of each rule:")
for rule, row in record["shipped"].items():
    window, heat, median = f"{row['in_window']:4.0%}", f"{row['heat']:.2f} nats", f"{row['median']:.2f} px"
    print(f"{RULES[rule]:46}in the window {window}, heat loss {heat}, median {median}")
assert record["trained"]["fresh"]["random"]["verdict"] == "worse"

# %% [markdown]
# A verdict compares with micro's rule, by the interval of the difference over specimens. From the shipped weights all
# rules end alike: by then the choice hardly matters. From a fresh start in so few steps true cells, moved ones and
# finds are alike too; random cells teach next to nothing, for the truth of nearly all of them lies outside their window
# and the losses leave those out. The rule that needs no model is as good as those that do, and works from the first
# step on, when nothing is found yet. The published filling-up, which draws the same cells again and again, comes out
# worse by a tenth of a pixel, hardly beyond chance.
#
# ## Live: a fresh batch
#
# Change `seed` and `level` at the top, or here. Four pairs as training would see them, with their truth.

# %%
fresh = make_pairs(atlas, level, seed, np.arange(4) + 10, 144)
fresh_truth = supervise(fresh)
show(draw_truths(fresh, fresh_truth, [f"{o:.0%} shared" for o in fresh.overlap.tolist()]))
print("true cells:", (fresh_truth.cells_1 >= 0).sum(1).tolist(), "of", fresh_truth.cells_1.shape[1])

# %% [markdown]
# ## Explore
#
# Run this notebook in JupyterLab (`make lab`): choose level, seed and pair, and set turn and scale yourself. This
# picture is the same figure, standing still.

# %% tags=["figure:pairs_explorer"]
from microloftr.views.explorers.pairs import View, draw_explorer, explore

view = View("medium", seed, 3, rotation=30, scale=0.7)
show(draw_explorer(atlas, view), "png")

# %%
explore(atlas, view)

# %% [markdown]
# ## The answer
#
# Pairs come from real micrographs by a warp and a change of appearance that are both known; the truth is a homography
# (and, for sections, a bend), read off at the centres of the cells, one to one.

# %%
from literate.questions import answer
from microloftr.evaluation.metrics import bootstrap_interval
from microloftr.views.pairs_study import ranges

blind = np.concatenate([placing.blind for placing in drawn.values()])
sources = [atlas.specimens[k % len(atlas)] for _ in drawn for k in range(draws)]
(low,), (high,) = bootstrap_interval(lambda index: blind[index].mean(), sources, resamples=400)
by_kind = {name.removeprefix("train: "): placing.blind.mean() for name, placing in drawn.items()}
answer(
    "Q15",
    "It never does: the place is drawn from the region in which both crops lie inside, and where that is empty the "
    "zoom is raised. Of {n} warps of the four levels and the five kinds of training pairs {outside:.0f} stick out. "
    "Were the first crop put anywhere and the second where the warp takes it, {value:%} would ({low:%} to {high:%}), "
    "from {least:%} of the mildest kind to {most:%} of the wildest; {raised:%} would have no place at all.",
    value=round(float(blind.mean()), 4),
    interval=(round(float(low), 4), round(float(high), 4)),
    n=len(blind),
    more={
        "outside": sum(placing.outside for placing in drawn.values()),
        "least": round(float(min(by_kind.values())), 4),
        "most": round(float(max(by_kind.values())), 4),
        "raised": round(float(np.mean([placing.raised.mean() for placing in drawn.values()])), 4),
        "fingerprint": round(as_made.found, 4),
        "fingerprint_bare": round(bare.found, 4),
        "ranges": ranges((*LEVELS, "train", "train-near", "everything")),
        "shares": {given.name: share for share, given in TRAINING},
    },
)

# %%
shared_median, difference = compared["shared"], compared["difference"]
lost = float(np.mean(matches.group == "extra"))
answer(
    "Q08",
    "Not for refinement: on {pairs} pairs with a smaller image_1, cells that share one of its cells are refined to "
    "{value:.2f} px ({low:.2f} to {high:.2f}), cells alone on theirs to {alone:.2f} px, a difference within the pair "
    "of {difference:+.2f} px ({difference_low:+.2f} to {difference_high:+.2f}). It occurs wherever image_1 is smaller: "
    "{half:%} of the cells of image_0 share at half the scale, {near:%} at 0.9, none from 1 on unless it is turned "
    "({turned:%} at 20°). One to one keeps one of each, {half_kept:%} of the cells at half the scale. At matching, "
    "without the mutual check, {lost:%} of the matches are second ones on a cell, {extra:%} of them right to 3 px "
    "against {mutual:%} of the others.",
    value=round(shared_median[0], 4),
    unit="px",
    interval=(round(shared_median[1], 4), round(shared_median[2], 4)),
    n=len(cells.error),
    more={
        "alone": round(compared["alone"][0], 4),
        "difference": round(difference[0], 4),
        "difference_low": round(difference[1], 4),
        "difference_high": round(difference[2], 4),
        "left_out": round(compared["left_out"][0], 4),
        "left_out_low": round(compared["left_out"][1], 4),
        "left_out_high": round(compared["left_out"][2], 4),
        "half": round(half.shared, 4),
        "half_kept": round(half.kept, 4),
        "near": round(sharing_at(0.9, 0).shared, 4),
        "near_kept": round(sharing_at(0.9, 0).kept, 4),
        "turned": round(turned.shared, 4),
        "turned_kept": round(turned.kept, 4),
        "lost": round(lost, 4),
        "extra": round(matches.right("extra"), 4),
        "mutual": round(matches.right("mutual"), 4),
        "pairs": sum(map(len, batches)),
    },
)
