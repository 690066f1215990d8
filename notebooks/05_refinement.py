# %% [markdown]
# # How does a matched cell become a point, and what passes between coarse and fine, at test time and in training?
#
# The coarse stage says which cell of image_1 shows the centre of a cell of image_0. A cell is 8 px wide, so that is
# right to ±4 px. Refinement cuts a window out of a finer map around the matched cell and says where in it the centre
# lies. This notebook follows one match from its cell to its pixel, measures how near it comes, and then looks at
# training: which cells are refined there, and which weights learn from which loss.
#
# | parameter | meaning |
# |---|---|
# | `level`, `pairs` | fixed validation pairs, with known truth, beside the demo pair |
# | `threshold` | least confidence of a match |
# | `even` | share of a planted heat that lies anywhere in the window |

# %% tags=["parameters"]
level = "medium"
pairs = 6
threshold = 0.1
even = 0.2

# %%
import numpy as np
import torch

from literate.parameters import check_parameters
from microloftr.errors import ParameterError

check_parameters("05_refinement", globals())
if not 2 <= pairs <= 24 or not 0 < even < 1:
    raise ParameterError("pairs must be 2 to 24 and even between 0 and 1.")

# %% [markdown]
# ## Small first
#
# A corner of a micrograph, 64 × 80 px, and the same corner cut out 3 px further right and 2 px further down: the truth
# is (−3, −2) px for every cell. `micro` is trained; `loftr` is the published architecture with random weights.

# %%
from microloftr import Matcher
from microloftr.model.weights import random_model
from microloftr.views.case import demo_case
from microloftr.views.refinement_study import expectation

matcher = Matcher.from_pretrained("micro", device="cpu", search=False, threshold=threshold)
models = {"micro": matcher.model, "loftr": random_model("loftr")}
demo = demo_case(models["micro"], threshold)
field = torch.from_numpy(demo.image_0.pixels)[None, None]
with torch.inference_mode():
    small = {
        name: model.trace(field[..., 100:164, 100:180], field[..., 102:166, 103:183], threshold * (name == "micro"))
        for name, model in models.items()
    }
print(f"{'':11}{'':16}{'micro':18}loftr")
shapes = {
    "fine_0": "B, F, H/2, W/2",
    "windows_0": "M, W², F",
    "windows_1": "M, W², F",
    "log_heat": "M, W²",
    "offset": "M, 2",
}
for name, letters in shapes.items():
    tensors = [getattr(trace.encoded if name == "fine_0" else trace.refined, name) for trace in small.values()]
    print(f"{name:11}{letters:16}{tuple(tensors[0].shape)!s:18}{tuple(tensors[1].shape)}")

micro, loftr = (trace.refined for trace in small.values())
print(f"micro: median offset ({micro.offset[:, 0].median():.1f}, {micro.offset[:, 1].median():.1f}) px, truth (-3, -2)")
print(f"loftr, untrained: no offset above {loftr.offset.abs().max():.1f} px")
assert (micro.offset.median(0).values - torch.tensor([-3.0, -2.0])).abs().max() < 0.5
assert micro.windows_1.shape[1:] == (81, 32) and loftr.windows_1.shape[1:] == (25, 128)
assert torch.allclose(expectation(loftr.log_heat), loftr.offset, atol=1e-5)  # the mean place of the whole window …
assert ((micro.offset - expectation(micro.log_heat, 1)).abs() <= 2).all()  # … of 3 × 3, and at most 2 px corrected

# %% [markdown]
# Two ways to the offset:
#
# | | `loftr` (published) | `micro` |
# |---|---|---|
# | windows | 5 × 5 of both images, through a transformer of their own | 9 × 9 of image_1, one vector of image_0 |
# | heat | softmax of centre 0 with each place of window 1, over √F | the same of unit vectors, times a learnt scale |
# | offset | mean place of the **whole** window | best place, mean of the 3 × 3 around it, then a learnt correction |
# | reaches | ±4 px: its own cell | ±8 px: half of each neighbour too |
#
# ## The path of one match
#
# The demo pair: a stained section, image_1 turned by 19° and out of focus. The match in the middle by confidence:

# %%
from microloftr.views.refinement_figures import chosen_matches, draw_windows
from microloftr.views.refinement_study import errors_of, path_of

shown = chosen_matches(demo, errors_of([demo]))
index = shown[1]
refined, matches = demo.trace.refined, demo.trace.matches
path = path_of(demo.trace, index)
print(path.lines())

inside = refined.log_heat[index] > -1e3  # places outside the image have no heat
similarity = refined.windows_1[index] @ refined.windows_0[index, 0] * models["micro"].refinement.log_scale.exp()
assert torch.allclose(similarity[inside].softmax(0), refined.log_heat[index, inside].exp(), atol=1e-5)
assert np.allclose(path.peak_px, refined.peak[index]) and np.allclose(path.centre_px, matches.coarse_points_1[index])
assert np.allclose(path.point_px, matches.points_1[index], atol=1e-4)
as_read = matcher.match(demo.image_0, demo.image_1).points_1  # through Matcher: in pixels of the image as read
assert np.abs(as_read - path.point_px).max(1).min() < 1e-3

# %% [markdown]
# The point of image_0 is the centre of its cell, exactly: it is the question, and only the answer is refined.
#
# Three matches by their confidence, and the one whose truth lies farthest from its cell but still in the window:

# %% tags=["figure:refinement_windows"]
from microloftr.views.figures import show

show(draw_windows(demo, shown), "png")

# %% [markdown]
# ## How near does it come?
#
# Coarse errors fill the cell evenly: ±4 px, so a spread near 8/√12 px on each axis. The peak alone is right to its
# own 2 px. What matters more than the spread is the **mean**: spread averages out over a thousand matches when a
# transform is fitted, a constant bias does not.

# %%
from microloftr.data.fixed import fixed_pairs
from microloftr.images import Image
from microloftr.views.case import trace_case
from microloftr.views.refinement_study import AROUND_PEAK, AS_READ, WHOLE, readings, slope

made = fixed_pairs(level, limit=pairs)
cases = [demo] + [
    trace_case(models["micro"], *(Image(crop.astype(np.float32) / 255, None, "") for crop in crops), truth, threshold)
    for *crops, truth in zip(made.images_0, made.images_1, made.homography, strict=True)
]
errors = errors_of(cases)
bias = {stage: values[errors.near()].mean(0) for stage, values in errors.by_stage.items()}
for stage, (x, y) in bias.items():
    print(f"{stage:8} median {errors.median(stage):.2f} px, mean ({x:+.2f}, {y:+.2f}) px")
print(f"{len(errors)} matches of {len(cases)} pairs; the means leave out {(~errors.near()).sum()} more than 12 px off")
of_pairs = [errors.by_stage["refined"][errors.near() & (errors.case == k)].mean(0) for k in range(len(cases))]
print(f"refined, the largest mean of one pair on one axis: {np.abs(of_pairs).max():.2f} px")
assert np.abs(bias["refined"]).max() < 0.1
assert errors.median("refined") < errors.median("peak") < errors.median("coarse") / 2

# %% tags=["figure:refinement_errors"]
from microloftr.views.refinement_figures import draw_errors

show(draw_errors(errors), "png")

# %% [markdown]
# ## The mean of a whole window shrinks
#
# Plant a heat that knows the truth exactly but spreads a share `even` of itself over the whole window. Its mean place
# is then exactly 1 − `even` of the truth, at every distance. Around the peak the same share weighs much less.

# %%
from microloftr.views.refinement_study import planted_heat

true_x = torch.linspace(-8, 8, 161, dtype=torch.float64)
truth = torch.stack((true_x, torch.zeros_like(true_x)), 1)
planted = planted_heat(truth, 9, even)
shrunk, local = expectation(planted) - truth, expectation(planted, 1) - truth
assert torch.allclose(shrunk, -even * truth, atol=1e-9)
print(f"planted, truth 8 px away: whole window {shrunk[-1, 0]:+.2f} px, 3 × 3 at most {local.abs().max():.2f} px")
read = readings(errors)
slopes = {name: slope(offset, errors) for name, offset in read.items()}
medians = {name: float(np.median(np.hypot(*(offset - errors.truth).T))) for name, offset in read.items()}
for name in read:
    print(f"trained heat, {name}: {slopes[name]:.2f} of the true offset, median error {medians[name]:.2f} px")
assert slopes[WHOLE] < min(slopes[AROUND_PEAK], slopes[AS_READ]) and max(slopes.values()) < 1

# %% tags=["figure:refinement_readings"]
from microloftr.views.refinement_figures import draw_readings

show(draw_readings(truth, even, errors), "png")

# %% [markdown]
# The trained heat was trained to be read around its peak: this compares two readings of one heat, not two trained
# models. The teeth on the right are 2 px wide, the distance of two places of the window: points are drawn to them a
# little. The learnt correction is there to take that away, and on these pairs it does not.
#
# ## In training: which cells are refined?
#
# At test time it is what the model found: mutual cells above the threshold. In training there is a choice.
#
# - **Published**: the model's own predictions, filled up with true cells at confidence 0, at least 200 a batch. A model
#   that finds nothing yet is shown truth alone; a trained one mostly what it finds.
# - **`micro`**: as many true cells of every pair, some of them moved by −1 … 1 cells each way. What is shown depends on
#   nothing that the model does, so it is the same from the first step on.
#
# Both are shown on one batch of pairs of the validation micrographs, drawn as training draws them. The published rule
# reads `micro`, fresh and trained, above the published threshold: published weights are not at hand.

# %%
from microloftr.data.fixed import split_atlas
from microloftr.data.pairs import make_pairs
from microloftr.model.coarse_matching import CoarseMatches, select
from microloftr.training.losses import cells_to_refine, coarse_loss
from microloftr.training.step import LossWeights
from microloftr.training.supervision import supervise
from microloftr.views.refinement_study import kinds, published_cells, true_offset

batch = make_pairs(split_atlas("validation"), "train", 0, np.arange(16), 144)
truth = supervise(batch)
generator, weights = torch.Generator().manual_seed(0), LossWeights()
with torch.inference_mode():
    log_confidence = {
        name: model.trace(batch.images_0, batch.images_1).log_confidence
        for name, model in {"fresh": random_model("micro"), "trained": models["micro"]}.items()
    }
side = int(truth.cells_1.shape[1] ** 0.5)
published_threshold = 0.2
found = {
    name: select(values, (side, side), (side, side), published_threshold) for name, values in log_confidence.items()
}
at_test = select(log_confidence["trained"], (side, side), (side, side), threshold)
total = int(0.3 * truth.cells_1.numel())  # three in ten of all cells of a batch, as in the outdoor configuration
cells = cells_to_refine(truth, side, side, weights.refined_per_pair, weights.jitter, generator)
micro_rule, test_rule = "micro's rule,\nat any step", f"at test time,\nmicro trained, > {threshold:g}"
fresh_rule, trained_rule = (f"published rule,\nmicro {name}, > {published_threshold:g}" for name in found)
chosen = {micro_rule: (CoarseMatches(*cells, torch.ones(len(cells[0]))), torch.tensor(True))}
for rule, given in zip((fresh_rule, trained_rule), found.values(), strict=True):
    chosen[rule] = published_cells(given, truth.cells_1, total, 200, generator)
chosen[test_rule] = at_test, torch.tensor(False)
offsets = {name: true_offset(cells, truth.points_1, side) for name, (cells, _) in chosen.items()}
shares = {name: kinds(offsets[name], given) for name, (_, given) in chosen.items()}
was_moved = cells[2] != truth.cells_1[cells[0], cells[1]]
print(f"micro: up to {weights.refined_per_pair} true cells a pair, a share of {weights.jitter} of them drawn to move; "
      f"{was_moved.float().mean():.0%} do")  # fmt: skip
for name, offset in offsets.items():
    far = offset.abs().amax(1)
    print(f"{name.replace(chr(10), ' '):36} {len(far)} cells, within 4 px {(far <= 4).float().mean():.0%}, "
          f"within 8 px {(far <= 8).float().mean():.0%}")  # fmt: skip
assert shares[fresh_rule]["true cell"] == 1  # it found nothing: padding alone
assert abs(shares[micro_rule]["true, moved by one"] - was_moved.float().mean()) < 0.01

# %% tags=["figure:refinement_cells"]
from microloftr.views.refinement_figures import draw_cells

show(draw_cells(shares, offsets, {"5 × 5 reaches": 4, "9 × 9 reaches": 8}), "png")

# %% [markdown]
# What each choice does:
#
# - **Truth alone** shows offsets of up to 4 px and nothing else. But of the matches found at test time a good part lie
#   one cell beside the truth: refinement would meet them unprepared.
# - **Predictions** show just that mixture, once the model is good. A 5 × 5 window cannot reach the truth of a match one
#   cell off, so the published fine loss leaves those out. Drawing with replacement repeats cells.
# - **Moved true cells** show the neighbours from the start, more often than they occur, and some of them too far: where
#   the truth is beyond 8 px, the heat's loss leaves the cell out. Fewer move than are drawn to: one draw in nine is
#   (0, 0), and a cell on the rim cannot leave the image.
#
# ## The path of one match, in training
#
# The first moved cell of that batch whose truth is still in the window. The steps are those of test time; only the
# choice of the cell differs, and a target is known. The heat's loss is the cross-entropy with the target spread over
# the four places around it; the offset's is the distance in px, where the peak is near the target.

# %%
from microloftr.training.losses import heat_loss, offset_loss
from microloftr.views.refinement_study import heat_spread, path_from

target = offsets[micro_rule]
first = int((was_moved & (target.abs().amax(1) < 8)).nonzero()[0, 0])
pair = int(cells[0][first])
here = (cells[0] == pair).nonzero()[:, 0]  # all the cells that are refined of this pair
nth = int((here == first).nonzero()[0, 0])
in_pair = CoarseMatches(torch.zeros(len(here), dtype=torch.long), cells[1][here], cells[2][here], torch.ones(len(here)))
fine_of = {}
with torch.inference_mode():
    for name, model in models.items():
        encoded = model.encode(*model.pyramids(batch.images_0[pair : pair + 1], batch.images_1[pair : pair + 1]))
        fine_of[name] = model.refine(encoded, in_pair)
one, goal = fine_of["micro"], target[here][nth : nth + 1]
trained_path = path_from(in_pair, one, side, nth)
alone = torch.zeros(1, dtype=torch.long)
heat_term = heat_loss(one.log_heat[nth : nth + 1], goal, alone, 1)
offset_term = offset_loss(one.offset[nth : nth + 1], goal, one.peak[nth : nth + 1], alone, 1)
print(f"the true cell is {int(truth.cells_1[pair, cells[1][first]])}, moved to:")
print(trained_path.lines())
print(f"the target offset: ({goal[0, 0]:.2f}, {goal[0, 1]:.2f}) px")
print(f"heat loss {heat_term:.2f} nats, offset loss {offset_term:.2f} px, weights {weights.heat} and {weights.offset}")
true_point = truth.points_1[pair, cells[1][first]].numpy()
assert np.allclose(np.add(trained_path.centre_px, goal[0].numpy()), true_point, atol=1e-4)
near_target = (one.peak[nth] - goal[0]).abs().max() < 4
distance = (one.offset[nth] - goal[0]).norm()
assert abs(offset_term - near_target * distance) < 0.01 and heat_term > 0

spread = heat_spread(fine_of["loftr"].log_heat)
even_heat = heat_spread(torch.zeros(1, 25))[0, 0]
print(
    f"loftr, untrained, the same cell: σx {spread[nth, 0]:.2f} px, σy {spread[nth, 1]:.2f} px (even: {even_heat:.2f})"
)
widest = {}
for name, weight in {"paper": 1 / (spread**2).sum(1), "code": 1 / spread.sum(1)}.items():
    ratio = weight / weight.mean()
    widest[name] = ratio.max() / ratio.min()
    print(
        f"  weight by the {name:5}: {ratio[nth]:.2f} times the mean over the {len(ratio)} cells of the pair, "
        f"which have {ratio.min():.2f} to {ratio.max():.2f}"
    )
assert 1 < widest["code"] < widest["paper"]

# %% [markdown]
# The published fine loss is the squared distance, weighed by 1/σ² in the paper, σ² the variance of the heat, and by
# 1/(σx + σy) over its mean in the code, with no gradient through it in either: an unsure window counts less, and in the
# code by a smaller factor. `micro` weighs all cells of a pair alike.
#
# ## In training: who learns from which loss?
#
# The cells are whole numbers, found by a maximum: no gradient passes through the choice. Here is which part of a model
# has a gradient from which loss; the fine one is the mean distance from the truth, for cells that the model chose.

# %%
from microloftr.views.refinement_study import gradient_by_part, gradient_to

few = make_pairs(split_atlas("validation"), "train", 0, np.arange(2), 96)
few_truth = supervise(few)
learns, through_choice = {}, {}
for name, model in models.items():
    encoded = model.encode(*model.pyramids(few.images_0, few.images_1))
    confidence = model.match_cells(encoded)
    mutual = select(confidence.log_confidence, (12, 12), (12, 12), 0.0)
    fine = model.refine(encoded, mutual)
    goal = true_offset(mutual, few_truth.points_1, 12)
    fine_loss = (fine.offset - goal).norm(dim=1).mean()
    learns[name] = {
        "coarse loss": gradient_by_part(model, coarse_loss(confidence.log_confidence, few_truth.cells_1)),
        "fine loss": gradient_by_part(model, fine_loss),
    }
    through_choice[name] = gradient_to(confidence.log_confidence, fine_loss)
    print(f"{name}: {len(mutual.cells_0)} cells")
    for part in learns[name]["fine loss"]:
        words = {loss: "learns" if given[part] else "exactly 0" for loss, given in learns[name].items()}
        print(f"  {part:16} coarse loss: {words['coarse loss']:10} fine loss: {words['fine loss']}")
    print(f"  the confidences that the cells were chosen by, from the fine loss: {through_choice[name]}")

assert all(value == 0 for value in through_choice.values())
for by_loss in learns.values():
    assert by_loss["coarse loss"]["refinement"] == 0 < by_loss["fine loss"]["refinement"]
    assert all(given[part] > 0 for given in by_loss.values() for part in ("backbone", "transformer"))
by_loss = learns["micro"]
assert by_loss["fine loss"]["coarse_matching"] == 0 < by_loss["coarse loss"]["coarse_matching"]
assert by_loss["coarse loss"]["fine_features"] == 0 < by_loss["fine loss"]["fine_features"]

# %% [markdown]
# Both losses meet in the backbone and in the transformer, whose coarse features go into the fine map (`micro`) or into
# each window (`loftr`). What decides on cells learns from the coarse loss alone, what reads the window from the fine
# loss alone. (`loftr` has fewer parts: it matches cells at a fixed temperature and takes its fine map straight from the
# pyramid, without weights.)
#
# ## A fine transformer of 92 channels and 4 heads?
#
# It runs: 92 / 4 = 23 channels a head. 92 with 8 heads does not divide, and is refused by name. 23 is odd, so a rotary
# encoding would not fit. Both layers, on 200 pairs of 5 × 5 windows:

# %% tags=["timing"]
from microloftr.errors import ConfigError
from microloftr.views.refinement_study import fine_transformer_cost

for dim, heads in ((64, 4), (92, 4), (96, 4), (128, 8)):
    parameters, seconds = fine_transformer_cost(dim, heads)
    cost = f"{parameters / 1000:.0f} k parameters, {1000 * seconds:.0f} ms of one core"
    print(f"{dim:3} channels, {heads} heads of {dim // heads}: {cost}")
try:
    fine_transformer_cost(92, 8)
    raise AssertionError("92 channels must not split into 8 heads")
except ConfigError as error:
    print(f" 92 channels, 8 heads: {error}")

# %% [markdown]
# Does the width matter? The published fine stage was trained with each width on the frozen coarse part of `micro`, on
# the same pairs, from a fresh start; beside it micro's own heat with three readings. All are judged on the same matches
# (`python -m microloftr architecture --only fine`):

# %%
from IPython.display import Markdown, display

from microloftr.evaluation.architecture_tables import fine_table
from microloftr.results import read_result

architecture = read_result("architecture")
stages, trained_on = architecture["values"]["fine"], architecture["values"]["fine"]["trained_pairs"]
print(f"{trained_on} pairs of 128 × 128, {stages['per_pair']} windows of each; {stages['matches']} matches judged")
display(Markdown(fine_table(architecture)))
of_width = next(iter(stages["seeds"].values()))
assert of_width["64-4"]["parameters"] < of_width["92-4"]["parameters"] < of_width["128-8"]["parameters"]

# %% [markdown]
# ## The answer

# %%
from literate.questions import answer
from microloftr.data.demo import SOURCE
from microloftr.evaluation.metrics import bootstrap_interval

names = [SOURCE, *made.micrograph]  # the demo pair shows one of the same micrographs
sources = [names[k] for k in errors.case]
distance = np.hypot(*errors.by_stage["refined"].T)
(low,), (high,) = bootstrap_interval(lambda drawn: np.median(distance[drawn]), sources, resamples=200)
moved = shares[micro_rule]["true, moved by one"]
padding = shares[trained_rule]["true cell"]
beside = kinds(torch.from_numpy(errors.truth), False)["found, one beside"]  # of the pairs that the errors are of
spoken = {"whole_window": WHOLE, "around_peak": AROUND_PEAK, "corrected": AS_READ}
answer(
    "Q03",
    "Coarse hands fine the number of a cell, which says where to cut a window, and its features: the features carry "
    "gradient, the choice of the cell carries none (exactly {choice:.0f}). On {training_pairs} pairs drawn as in "
    "training, micro's rule refines true cells, {moved:%} of them moved to a neighbour; the published rule refines "
    "what the model finds, filled up with true cells (all at first, {padding:%} with micro trained). At test time, "
    "over {n} matches of {pairs} other pairs, {beside:%} of the cells found are one beside the truth, and the median "
    "error falls from {coarse:.1f} px to {value:.2f} px.",
    value=round(errors.median("refined"), 4),  # beyond that, numbers depend on how many threads added them up
    unit="px",
    interval=(round(float(low), 4), round(float(high), 4)),
    n=len(errors),
    more={
        "coarse": round(errors.median("coarse"), 4),
        "peak": round(errors.median("peak"), 4),
        "bias": round(float(np.abs(bias["refined"]).max()), 4),
        "bias_of_one_pair": round(float(np.abs(of_pairs).max()), 4),
        "choice": max(through_choice.values()),
        "moved": round(moved, 4),
        "padding": round(padding, 4),
        "beside": round(beside, 4),
        "beside_of_training_pairs": round(shares[test_rule]["found, one beside"], 4),
        "training_pairs": len(batch),
        "jitter": weights.jitter,
        "slopes": {name: round(slopes[reading], 4) for name, reading in spoken.items()},
        "medians": {name: round(medians[reading], 4) for name, reading in spoken.items()},
        "pairs": len(cases),
    },
)

# %%
asked, milliseconds = of_width["92-4"]["own"], architecture["values"]["times"]["fine"]
others = ("64-4", "96-4", "96-8", "128-8")
differences = {f"by_{key.replace('-', '_')}": of_width[key]["own"]["difference"] for key in others}
verdicts = {f"said_{key.replace('-', '_')}": of_width[key]["own"]["verdict"] for key in others}
answer(
    "Q12",
    "It runs: 92 / 4 = 23 channels a head, which linear and full attention allow (a rotary encoding would not, and 92 "
    "with 8 heads is refused). On a frozen coarse part, after {trained_on} pairs, the median error of what is found in "
    "its own cell is {value:.2f} px ({low:.2f} to {high:.2f}); 64/4 differs by {by_64_4:+.2f} px ({said_64_4}), 96/4 "
    "by {by_96_4:+.2f} ({said_96_4}), 96/8 by {by_96_8:+.2f} ({said_96_8}), 128/8 by {by_128_8:+.2f} ({said_128_8}). A "
    "thousand windows take {ms_92_4:.0f} ms, with 64/4 {ms_64_4:.0f}, 96/4 {ms_96_4:.0f}, 96/8 {ms_96_8:.0f}, 128/8 "
    "{ms_128_8:.0f}.",
    value=asked["value"],
    unit="px",
    interval=(asked["low"], asked["high"]),
    n=stages["own_matches"],
    more={
        "trained_on": trained_on,
        **differences,
        **verdicts,
        **{f"ms_{key.replace('-', '_')}": milliseconds[key] for key in ("92-4", *others)},
        "parameters": {key: of_width[key]["parameters"] for key in ("92-4", *others)},
    },
)
