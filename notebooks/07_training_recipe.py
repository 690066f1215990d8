# %% [markdown]
# # Can this training be trusted, before a single hour is spent on it?
#
# Neural networks fail silently: a wrong truth, a leak between samples or a dead gradient trains without an error,
# only worse. Karpathy's "A recipe for training neural networks" (2019) is a list of cheap checks against that. Here
# each is a function that returns numbers (`microloftr.training.diagnostics`), and the tests show that each fails on a
# network that is broken on purpose.
#
# What takes minutes was measured by `python -m microloftr recipe` and is read from its record; everything else is
# measured in this notebook.
#
# | parameter | meaning |
# |---|---|
# | `level`, `pairs`, `size` | the made validation pairs that are looked at, side in px |
# | `steps` | of the live trainings |
# | `seed` | of pairs and weights |

# %% tags=["parameters"]
level = "medium"
pairs = 3
size = 96
steps = 40
seed = 0

# %%
import numpy as np
import torch

from literate.parameters import check_parameters
from microloftr.errors import ParameterError

check_parameters("07_training_recipe", globals())
if not 2 <= pairs <= 4 or size not in (64, 96, 128) or not 10 <= steps <= 100:
    raise ParameterError("pairs must be 2 to 4, size 64, 96 or 128, and steps 10 to 100.")

# %% [markdown]
# ## The batch exactly as the network sees it
#
# Taken where the first convolution gets it: each image normalised over the whole and locally. The numbers are true
# matches: the same number must lie on the same place in both images.

# %%
from microloftr.data.fixed import split_atlas
from microloftr.data.pairs import make_pairs
from microloftr.model.weights import load_model, random_model, shipped
from microloftr.training.diagnostics.as_seen import as_seen
from microloftr.training.diagnostics.brief import shuffled
from microloftr.training.supervision import supervise

validation = split_atlas("validation")
batch = make_pairs(validation, level, seed, np.arange(pairs), size)
models = {name: random_model(name, seed) for name in ("micro", "one_conv", "loftr")}
micro = load_model(shipped("micro"))
seen = as_seen(models["micro"], batch)
wrong = as_seen(models["micro"], batch, supervise(shuffled(batch)))
print(f"inputs {seen.inputs_0.shape}, spread {seen.spread:.2f}, all numbers: {seen.finite}")
print("both images at the truth, correlation:", ", ".join(f"{value:.2f}" for value in seen.agreement))
print("… at the truth of another pair:       ", ", ".join(f"{value:.2f}" for value in wrong.agreement))
assert seen.holds() and np.nanmedian(wrong.agreement) < np.nanmedian(seen.agreement)

# %% tags=["figure:recipe_as_seen"]
from microloftr.views.figures import show
from microloftr.views.recipe_figures import draw_as_seen

show(draw_as_seen(seen), "png")

# %% [markdown]
# ## The loss before the first step
#
# A model that knows nothing finds all cells alike: both softmaxes are even, and a true cell costs ln L0 + ln L1. Two
# cells of matchability with bias 1 add 2 softplus(−1); an unmatchable cell costs softplus(1). Blank images make a model
# know nothing, but for the rim, which padding tells `micro`. On real images there are two more terms, and the three
# together are exact:
#
# measured = derived + what the spread of similarities costs (a random truth would pay it) − what features already know
#
# A start *below* the derived value is no fault, random convolutions describe texture. A start far above it is one.

# %%
from microloftr.training.diagnostics.initial_loss import initial_loss

print(f"{'':18}{'cells':>6}{'derived':>9}{'blank':>9}{'measured':>9}{'spread':>9}{'known':>9}")
starts = {}
for side in (64, 128):
    looked = make_pairs(validation, level, seed, np.arange(2), side)
    for name, model in models.items():
        if name == "loftr" and side > 64:  # slow; the record has it
            continue
        for training in (False, True) if name == "loftr" else (False,):
            found = starts[name, side, training] = initial_loss(model.train(training), looked)
            model.eval()
            numbers = (found.derived.coarse, found.blank, found.measured.coarse, found.spread_cost, found.known)
            shown = "".join(f"{value:9.2f}" for value in numbers)
            print(f"{name + (', training' if training else ''):18}{found.cells:6}{shown}")
            sum_of_terms = found.derived.coarse + found.spread_cost - found.known
            assert abs(found.measured.coarse - sum_of_terms) < 1e-3 and found.dead == 0
            assert found.holds() == (name != "loftr")
blank_gap = abs(starts["one_conv", 128, False].blank - starts["one_conv", 128, False].derived.coarse)
fine = starts["micro", 128, False]
print(f"one_conv on blank images is {blank_gap:.1e} nats from the derived value")
print(f"matchability: derived {fine.derived.matchability:.4f}, micro {fine.measured.matchability:.4f} nats")
print(f"heat: derived {fine.derived.heat:.2f}, micro {fine.measured.heat:.2f} nats; "
      f"offset: derived {fine.derived.offset:.2f}, micro {fine.measured.offset:.2f} px")  # fmt: skip
assert blank_gap < 1e-3 and abs(fine.derived.matchability - fine.measured.matchability) < 1e-4

# %% [markdown]
# `micro` and `one_conv` start where they should. The published preset does not: its similarities are not normalised,
# and in training, normalised over the batch, they spread so far that it starts several times too high. The record has
# the larger images:

# %% tags=["figure:recipe_starts"]
import math

from microloftr.results import read_result
from microloftr.views.recipe_figures import draw_starts

recipe = read_result("recipe")["values"]
show(draw_starts(recipe["starts"], -math.log(1e-6)), "png")

# %% [markdown]
# The dotted line is where the published clamp of the confidence at 1e-6 takes the slope away. A flat start crosses it
# at 1,000 cells (with matchability at 730), 250 px a side: there a model that knows nothing would never learn
# anything.

# %%
for row in recipe["starts"]:
    if not row["training"]:
        print(f"{row['preset']:9} {row['size']} px: {row['clamped_dead']:4.0%} of the true cells without a slope if "
              f"clamped, {row['dead']:.0%} as trained")  # fmt: skip
assert all(row["dead"] == 0 for row in recipe["starts"])

# %% [markdown]
# ## The last layer: temperature and bias
#
# **Temperature.** The cosine is multiplied by 12 at first. With 1 (no temperature) the loss starts perfectly flat, and
# stays there: cosines between −1 and 1 cannot say that one of 256 cells is right. With 100 it starts far too high.
#
# **Bias.** The usual rule, ln(π/(1 − π)) with π the share of positives, does not hold here: both losses are means over
# their own cells. Whatever the share, 2 softplus(−b) + softplus(b) is least at b = ln 2. `micro` starts at 1, torch's
# default is near 0 with random weights, and "one match among all cells" would be −ln(L − 1).

# %%
from microloftr.training.diagnostics.initial_loss import best_bias, derived_matchability

bias = torch.linspace(-7, 3, 1001)
pays = 2 * torch.nn.functional.softplus(-bias) + torch.nn.functional.softplus(bias)
least = float(bias[pays.argmin()])
print(f"least at b = {least:.2f}; derived ln 2 = {best_bias():.2f}, where knowing nothing pays {float(pays.min()):.3f}")
print(f"at b = 1: {2 * derived_matchability(-1.0) + derived_matchability(1.0):.3f} nats")
assert abs(least - best_bias()) < 0.02
curves, total = recipe["curves"], {name: curve["total"] for name, curve in recipe["curves"].items()}
saved = recipe["saved"]
last = curves["heeded"]["steps"][-1]
for name in ("no_temperature", "cold", "default_bias", "rare_bias", "clamped", "not_heeded"):
    reached = f"heeded is there after {saved[name]:.0f}" if saved[name] is not None else "heeded is not there yet"
    print(f"{name:15} starts at {total[name][0]:6.2f}, after {last} steps {total[name][-1]:.2f} nats, "
          f"{curves[name]['accuracy'][-1]:5.1%} of the cells right; {reached}")  # fmt: skip

# %% tags=["figure:recipe_curves"]
from microloftr.views.recipe_figures import draw_curves

groups = (
    ("temperature", ("no_temperature", "cold", "heeded")),
    ("matchability bias", ("default_bias", "rare_bias", "heeded")),
    ("clamp, and everything", ("clamped", "not_heeded", "heeded")),
)
show(draw_curves(curves, groups, recipe["derived"]["knowing_nothing"]), "png")

# %% [markdown]
# Each curve is `one_conv`, the same batches and seed, judged on held-out pairs by the same unclamped loss; the dotted
# line is what a model that knows nothing pays at its best. The temperature decides whether training starts at all. The
# bias is put right within some steps by itself, unless it is very wrong. The clamp gives up the cells that are worst.
#
# ## Does it learn from the images?
#
# The same training on images of zeros, and with the truth of another pair. What can be had without looking is derived:
# ln L0 + ln L1 + 2 ln(3/2) + ln 3. Live, a short one:

# %%
from microloftr.config.plain import TrainConfig
from microloftr.model.presets import PRESETS
from microloftr.training.diagnostics.brief import fresh, train_briefly, zeros

setting = TrainConfig(steps=steps, lr=1e-3, backbone_lr=1e-3, warmup=5, decay=1, precision="32")
shown = [make_pairs(validation, level, seed, np.arange(4 * k, 4 * k + 4), size) for k in range(steps)]
held = make_pairs(validation, level, seed + 1, np.arange(8), size)
live = {}
for name, change in {"real": lambda given: given, "zeros": zeros, "shuffled": shuffled}.items():
    live[name] = train_briefly(fresh(PRESETS["one_conv"], seed), shown, change(held), setting, steps, change=change)
    print(f"{name:9} {live[name].total[0]:.2f} → {live[name].total[-1]:.2f} nats after {steps} steps")
nothing = 4 * math.log(-(-size // 8)) + 2 * math.log(1.5) + math.log(3)
print(f"knowing nothing: {nothing:.2f} nats")
assert live["real"].total[-1] < live["zeros"].total[-1] - 0.3 and live["real"].total[-1] < live["shuffled"].total[-1]
assert nothing - 1e-3 < live["zeros"].total[-1] < nothing + 0.2

# %% tags=["figure:recipe_inputs"]
inputs = {"real": curves["heeded"], "zeros": curves["zeros"], "shuffled": curves["shuffled"]}
group = (("what is learnt from what", ("shuffled", "zeros", "real")),)
show(draw_curves(inputs, group, recipe["derived"]["knowing_nothing"]), "png")

# %% [markdown]
# ## One batch by heart
#
# Two pairs of 96 px, taught until every true cell is named by its row and its column, and refinement errs by less than
# 0.05 px in the mean. Both start from random weights. Live until every cell is right; the fine error takes longer and
# comes from the record:

# %%
from microloftr.training.diagnostics.overfit import FINE_GOAL, overfit

small = make_pairs(validation, "easy", seed, np.arange(2), 96)
by_heart = {}
for name, rate, most in (
    ("one_conv", 3e-3, 60),
    ("micro", 1.5e-3, 40),
):
    taught = TrainConfig(steps=most, lr=rate, backbone_lr=rate, warmup=10, decay=most, weight_decay=0.0)
    by_heart[name] = overfit(fresh(PRESETS[name], seed), small, taught)
    first, end = by_heart[name].looks[0], by_heart[name].looks[-1]
    print(f"{name:9} live: {first.right:.0%} → {end.right:.0%} of {by_heart[name].cells} cells in {end.step} steps"
          + ("" if end.fine is None else f", fine error {first.fine:.2f} → {end.fine:.2f} px"))  # fmt: skip
    kept = recipe["overfit"][name]
    print(f"{'':9} record: {kept['right'][-1]:.0%} of {kept['cells']} cells in {kept['step'][-1]} steps"
          + ("" if kept["fine"][-1] is None else f", fine error {kept['fine'][-1]:.3f} px"))  # fmt: skip
assert by_heart["one_conv"].holds() and by_heart["micro"].looks[-1].right == 1
assert all(kept["right"][-1] == 1 for kept in recipe["overfit"].values())
assert recipe["overfit"]["micro"]["fine"][-1] < FINE_GOAL

# %% tags=["figure:recipe_overfit"]
from microloftr.views.recipe_figures import draw_overfit

show(draw_overfit(recipe["overfit"], FINE_GOAL), "png")

# %% [markdown]
# ## Who depends on whom?
#
# The gradient of each pair's loss in the pixels of every sample. A pair must depend on both of its images and on
# nothing else. That holds for `micro` and `one_conv` in either mode, since they normalise nothing over the batch; the
# published backbone does, and in training its samples see each other.

# %%
from microloftr.training.diagnostics.dependency import dependencies

tiny = make_pairs(validation, level, seed, np.arange(3), 64)
charts = {}
for name, model in models.items():
    for mode in ("eval", "train"):
        charts[f"{name}, {mode}"] = chart = dependencies(model.train(mode == "train"), tiny)
        print(f"{name + ', ' + mode:16} other images at most {chart.leak:.3g}, own images at least {chart.least:.3g}")
        assert chart.holds() == (name != "loftr" or mode == "eval")
    model.eval()

# %% tags=["figure:recipe_dependencies"]
from microloftr.views.recipe_figures import draw_dependencies

drawn = ("micro, eval", "micro, train", "loftr, eval", "loftr, train")
show(draw_dependencies({name: charts[name] for name in drawn}), "png")

# %% [markdown]
# ## What moves, what is dead, what could be mended at best
#
# Ratios of update to weight near 1e-3 … 1e-2, no layer without a gradient, the window that holds the truth, no
# difference by the order of the images, and nothing that could be matched by the sensor's noise alone.

# %%
from dataclasses import replace

from microloftr.config.plain import Config
from microloftr.training.diagnostics.layers import dead, layer_statistics
from microloftr.training.diagnostics.residual import CHANCE, fingerprint, matched_by_noise, noise_pairs
from microloftr.training.diagnostics.swap import swap_gap
from microloftr.training.diagnostics.updates import by_part, still, update_ratios
from microloftr.training.diagnostics.window_recall import window_recall
from microloftr.training.stepper import Stepper

recall, swapped, published = window_recall(micro, batch), swap_gap(micro, tiny), swap_gap(models["loftr"], tiny)
print(
    f"{recall.n} matches: own cell {recall.own:.1%}, one beside {recall.beside:.1%}, in the window {recall.inside:.1%}"
)
print(
    f"order of the images: micro {swapped.gap:.0e} nats, loftr {published.gap:.1f} nats, {published.shared:.0%} shared"
)
noise = {kind: noise_pairs("easy", renewed=kind == "renewed") for kind in ("renewed", "shared")}
for kind, given in noise.items():
    print(f"noise alone, {kind:8}: {fingerprint(given).found:5.1%} of the residual's patches found (by chance "
          f"{CHANCE:.1%}), {matched_by_noise(micro, given):5.1%} of micro's cells right")  # fmt: skip
statistics = layer_statistics(micro, batch)
print(f"{len(statistics)} layers, dead: {dead(statistics) or 'none'}")
stepped = Stepper(
    load_model(shipped("micro")),
    Config(train=replace(setting, lr=6e-4, backbone_lr=3e-4, warmup=0)),
    torch.device("cpu"),
)
updates = update_ratios(stepped, batch)
print("update / weight:", ", ".join(f"{part} {ratio:.1e}" for part, ratio in by_part(updates).items()))
assert swapped.holds() and not published.holds() and not dead(statistics) and not still(updates)
assert fingerprint(noise["renewed"]).holds() and not fingerprint(noise["shared"]).holds()

# %% [markdown]
# ## The simple baseline, twice
#
# `one_conv`, one convolution and one linear layer, is trained by the same command as `micro`. Two short runs from the
# same seed on six of the bundled micrographs, weights compared bit by bit, and a third from another seed:

# %%
import tempfile
from importlib.resources import as_file, files
from pathlib import Path

from safetensors.torch import load_file

from microloftr.config import load_config
from microloftr.training.run import train

ends = []
with tempfile.TemporaryDirectory() as folder, as_file(files("microloftr.micrographs")) as bundle:
    rows = [line.split(",")[:3] for line in (bundle / "manifest.csv").read_text(encoding="utf-8").splitlines()]
    few = []
    for split, count in (("train", 4), ("validation", 2)):
        few += [[str(bundle / name), *rest] for name, *rest in rows if rest[0] == split][:count]
    manifest = Path(folder, "manifest.csv")
    manifest.write_text("\n".join(map(",".join, [rows[0], *few])), encoding="utf-8")
    for number, start in enumerate((seed, seed, seed + 1)):
        overrides = [
            "model=one_conv", "train.init=none", "train.precision=32", "train.steps=3", "train.decay=1",
            "train.warmup=1", "train.validation_pairs=1", "data.batch=4", "data.crop=64", "train.device=cpu",
            f"train.seed={start}", f"train.out={folder}", f"data.folder={manifest}", f"train.run=run_{number}",
        ]  # fmt: skip
        ends.append(load_file(train(load_config(overrides), progress=False, overrides=overrides)))
        assert Path(folder, f"run_{number}", "weights.safetensors").is_file()
first, again, other = ends
differing = sum(int((first[name] != again[name]).sum()) for name in first)
of_other = sum(int((first[name] != other[name]).sum()) for name in first)
weights = sum(value.numel() for value in first.values())
print(f"{weights} weights: {differing} differ between two runs, {of_other} with another seed")
assert differing == 0 < of_other

# %% [markdown]
# ## The answers

# %%
from literate.questions import answer

row = {(r["preset"], r["size"], r["training"]): r for r in recipe["starts"]}
large = row["micro", 320, False]
answer(
    "Q18",
    "It is ln L0 + ln L1 + 2 softplus(−b) for the coarse loss and softplus(b) for matchability: with 320 px crops "
    "derived {derived:.2f} nats, measured {value:.2f} for micro and {one_conv:.2f} for one_conv, whose random features "
    "already know something; on blank images one_conv is {blank_gap:.5f} nats from it; matchability derived "
    "{matchability:.4f}, measured {matchability_measured:.4f}; the published loftr starts at {loftr:.1f} in training "
    "where {loftr_derived:.1f} is derived.",
    value=large["measured"]["coarse"],
    unit="nats",
    n=len(recipe["starts"]),
    more={
        "derived": large["derived"]["coarse"],
        "one_conv": row["one_conv", 320, False]["measured"]["coarse"],
        "blank_gap": round(blank_gap, 5),
        "matchability": round(fine.derived.matchability, 4),
        "matchability_measured": round(fine.measured.matchability, 4),
        "heat": large["measured"]["heat"],
        "heat_derived": large["derived"]["heat"],
        "offset": large["measured"]["offset"],
        "offset_derived": large["derived"]["offset"],
        "loftr": row["loftr", 128, True]["measured"]["coarse"],
        "loftr_derived": row["loftr", 128, True]["derived"]["coarse"],
        "clamped_dead": large["clamped_dead"],
        "clamped_dead_one_conv": row["one_conv", 320, False]["clamped_dead"],
        "dead": large["dead"],
    },
)

# %%
answer(
    "Q19",
    "The temperature decides, the bias matters little: {steps} steps without a temperature end at "
    "{no_temperature:.2f} nats, above the {heeded_start:.2f} where one_conv starts with it (it ends at "
    "{value:.2f}); a scale of 100 starts at {cold_start:.1f} and ends at {cold:.2f}, which the recipe reaches "
    "after {cold_steps:.0f} steps; torch's default for the matchability ends at {default_bias:.2f}, a bias of one"
    " match in all cells at {rare_bias:.2f}, which the recipe reaches after {rare_steps:.0f} steps; the least is "
    "at b = ln 2 = {best_bias:.2f}, whatever the share of matchable cells.",
    value=total["heeded"][-1],
    unit="nats",
    more={
        "steps": last,
        "heeded_start": total["heeded"][0],
        "no_temperature": total["no_temperature"][-1],
        "cold": total["cold"][-1],
        "cold_start": total["cold"][0],
        "cold_steps": saved["cold"],
        "default_bias": total["default_bias"][-1],
        "default_steps": saved["default_bias"],
        "rare_bias": total["rare_bias"][-1],
        "rare_steps": saved["rare_bias"],
        "clamped": total["clamped"][-1],
        "clamped_steps": saved["clamped"],
        "clamped_accuracy": curves["clamped"]["accuracy"][-1],
        "heeded_accuracy": curves["heeded"]["accuracy"][-1],
        "not_heeded": total["not_heeded"][-1],
        "not_heeded_start": total["not_heeded"][0],
        "not_heeded_accuracy": curves["not_heeded"]["accuracy"][-1],
        "best_bias": round(least, 2),
    },
)

# %%
answer(
    "Q20",
    "Real images beat both: after {steps} steps one_conv pays {value:.2f} nats on held-out pairs, with images of zeros "
    "{zeros:.2f}, which is what knowing nothing costs ({nothing:.2f}, derived), and with the truth of another pair "
    "{shuffled:.2f}.",
    value=total["heeded"][-1],
    unit="nats",
    more={
        "steps": last,
        "zeros": total["zeros"][-1],
        "shuffled": total["shuffled"][-1],
        "nothing": recipe["derived"]["knowing_nothing"],
        "live_real": round(live["real"].total[-1], 3),
        "live_zeros": round(live["zeros"].total[-1], 3),
        "live_shuffled": round(live["shuffled"].total[-1], 3),
    },
)

# %%
learnt = recipe["overfit"]
answer(
    "Q21",
    "Yes: from random weights, micro has {right:.0%} of the {n} coarse cells of one batch right after {first_right} "
    "steps and a mean fine error of {value:.3f} px after {steps}, below 0.05 px; one_conv has {one_conv:.0%} after "
    "{one_conv_steps} steps.",
    value=learnt["micro"]["fine"][-1],
    unit="px",
    n=learnt["micro"]["cells"],
    more={
        "right": learnt["micro"]["right"][-1],
        "first_right": next(
            s for s, r in zip(learnt["micro"]["step"], learnt["micro"]["right"], strict=True) if r == 1
        ),
        "steps": learnt["micro"]["step"][-1],
        "before": learnt["micro"]["fine"][0],
        "farthest": learnt["micro"]["farthest"][-1],
        "one_conv": learnt["one_conv"]["right"][-1],
        "one_conv_steps": learnt["one_conv"]["step"][-1],
    },
)

# %%
ours = [charts[f"{name}, {mode}"] for name in ("micro", "one_conv") for mode in ("eval", "train")]
answer(
    "Q23",
    "Exactly {value} in every other pair's images and at least {least:.2g} in both of its own, in train and eval "
    "mode, for micro and one_conv; the published loftr too in eval mode, while in training its batch "
    "normalisation lets "
    "up to {loftr:.2g} through.",
    value=max(chart.leak for chart in ours),
    unit="gradient norm",
    n=len(tiny) ** 2 * 2 * len(ours),
    more={
        "least": float(f"{min(chart.least for chart in ours):.2g}"),
        "loftr_eval": charts["loftr, eval"].leak,
        "loftr": float(f"{charts['loftr, train'].leak:.2g}"),
    },
)

# %%
answer(
    "Q24",
    "one_conv, one convolution to 1/8 and a linear layer, is trained by the command of micro; two runs from one seed "
    "differ in {value} of {n} weights, another seed in {other}.",
    value=differing,
    unit="weights",
    n=weights,
    more={"other": of_other, "steps_of_shipped": read_result("training_one_conv")["values"]["recipe"]["steps"]},
)
