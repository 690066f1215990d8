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
# A start *below* the derived value is no fault, random convolutions describe texture. A start far above it is one. The
# last layer is held to more: what knowing nothing pays at its *best* bias, silence, a scale between ln L and √(5 C).

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
print(f"one_conv on blank images is {blank_gap:.3f} nats from the derived value")
print(f"matchability: derived {fine.derived.matchability:.4f}, micro {fine.measured.matchability:.4f} nats")
print(f"heat: derived {fine.derived.heat:.2f}, micro {fine.measured.heat:.2f} nats; "
      f"offset: derived {fine.derived.offset:.2f}, micro {fine.measured.offset:.2f} px")  # fmt: skip
assert blank_gap < 1e-3 and abs(fine.derived.matchability - fine.measured.matchability) < 1e-4

from microloftr.model.presets import PRESETS
from microloftr.training.diagnostics.brief import fresh

print("heads set wrongly on purpose:")
for head in ({"bias": -5.54}, {"bias": 5.0}, {"bias": "default"}, {"scale": 1.0}, {"scale": 100.0}):
    faults = initial_loss(fresh(PRESETS["micro"], seed, **head), looked).faults()
    print(f"  {', '.join(f'{name} {value}' for name, value in head.items())}: {', '.join(faults)}")
    assert faults

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
# Marks at 0 start where a model that knows nothing does. Right: the published clamp of the confidence at 1e-6 takes the
# slope from true cells below it. A flat start crosses it at 1,000 cells (with matchability at 730), 250 px a side. What
# that does to `micro` at 320 px is measured further down.

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

floor = (recipe["derived"]["knowing_nothing"],)
groups = (
    ("temperature", ("no_temperature", "cold", "heeded")),
    ("matchability bias", ("default_bias", "rare_bias", "heeded")),
    ("clamp, and everything", ("clamped", "not_heeded", "heeded")),
)
show(draw_curves(curves, groups, floor), "png")

# %% [markdown]
# Each curve is `one_conv`, the same batches and seed, judged on held-out pairs by the same unclamped loss; the dotted
# line is what a model that knows nothing pays at its best. The temperature decides whether training starts at all. The
# bias is put right within some steps by itself, unless it is very wrong. The clamp gives up the cells that are worst.
#
# These are crops of 256 cells, where the clamp hardly bites. `micro` on crops of 320 px, 1,600 cells, with the clamp
# and torch's default head, beside the same weights, batches and rate as trained:

# %%
large, nothing = recipe["large"], recipe["large"]["knowing_nothing"]
of_large = {f"large_{name}": curve for name, curve in large["curves"].items()}
for name, curve in large["curves"].items():
    print(f"{name:10} {large['dead'][name]:4.0%} of the true cells without a slope; {curve['total'][0]:.2f} → "
          f"{curve['total'][-1]:,.2f} nats, {curve['accuracy'][0]:.1%} → {curve['accuracy'][-1]:.1%} of the cells "
          f"right in {curve['steps'][-1]} steps")  # fmt: skip
print(f"knowing nothing pays {nothing:.2f} nats, where both start")
assert large["dead"]["heeded"] == 0 and large["dead"]["not_heeded"] > 0.9
assert large["curves"]["heeded"]["total"][-1] < nothing - 1 < min(large["curves"]["not_heeded"]["total"])

# %% tags=["figure:recipe_large"]
blind = recipe["blind"]
of_blind = {f"blind_{name}": curve for name, curve in blind["curves"].items()}
groups = (("micro, 1,600 cells", tuple(of_large)), ("micro, 144 cells", tuple(of_blind)))
show(draw_curves(of_large | of_blind, groups, (nothing, blind["knowing_nothing"])), "png")

# %% [markdown]
# With the clamp nearly no true cell has a slope, and the matchability loss, which only ever says that cells have *no*
# match, loses its counterweight: the loss as it is judged, without the clamp, runs away (off the top of the picture),
# and no cell is learnt. So every step of the recipe's is saved. The right panel belongs to the next section.
#
# ## Does it learn from the images?
#
# The same training on images of zeros, and with the truth of another pair. What can be had without looking is derived:
# ln L0 + ln L1 + 2 ln(3/2) + ln 3. Live, a short one:

# %%
from microloftr.config.plain import TrainConfig
from microloftr.training.diagnostics.brief import train_briefly, zeros

setting = TrainConfig(steps=steps, lr=1e-3, backbone_lr=1e-3, warmup=5, decay=1, precision="32")
shown = [make_pairs(validation, level, seed, np.arange(4 * k, 4 * k + 4), size) for k in range(steps)]
held = make_pairs(validation, level, seed + 1, np.arange(8), size)
live = {}
for name, change in {"real": lambda given: given, "zeros": zeros, "shuffled": shuffled}.items():
    live[name] = train_briefly(fresh(PRESETS["one_conv"], seed), shown, change(held), setting, steps, change=change)
    print(f"{name:9} {live[name].total[0]:.2f} → {live[name].total[-1]:.2f} nats after {steps} steps")
nothing = 4 * math.log(-(-size // 8)) + 2 * math.log(1.5) + math.log(3)
print(f"knowing nothing: {nothing:.2f} nats")
unseen = blind["curves"]["zeros"]["total"][-1]
seeing = blind["curves"]["real"]["total"][-1]
print(f"micro, from the record, after {blind['setting']['steps']} steps: real {seeing:.2f}, zeros {unseen:.2f}, "
      f"knowing nothing {blind['knowing_nothing']:.2f} nats")  # fmt: skip
assert seeing < unseen - 1
assert live["real"].total[-1] < live["zeros"].total[-1] - 0.3 and live["real"].total[-1] < live["shuffled"].total[-1]
assert nothing - 1e-3 < live["zeros"].total[-1] < nothing + 0.2

# %% tags=["figure:recipe_inputs"]
inputs = {"real": curves["heeded"], "zeros": curves["zeros"], "shuffled": curves["shuffled"]}
group = (("what is learnt from what", ("shuffled", "zeros", "real")),)
show(draw_curves(inputs, group, floor), "png")

# %% [markdown]
# `one_conv` knows no places, so zeros bring it to the derived value and no further. `micro` knows them, by its rotary
# encoding and the padding at the rim: with images of zeros it comes *below* the value of knowing nothing. That is the
# prior of the made pairs (a cell's partner is rather near its own place), and the bar that real images must pass.
#
# ## One batch by heart
#
# Two pairs of 96 px, taught by the loss of training, its parts weighted as there, until every true cell is named by its
# row and its column, and refinement errs by less than 0.05 px in the mean. Both start from random weights. Live until
# every cell is right; the fine error takes longer and comes from the record:

# %%
from microloftr.training.diagnostics.overfit import FINE_GOAL, overfit

small = make_pairs(validation, "easy", seed, np.arange(2), 96)
by_heart, nearly = {}, 0.3  # px; so few steps end somewhere below it, where depends on the processor
for name, rate, most in (
    ("one_conv", 3e-3, 60),
    ("micro", 1.5e-3, 40),
):
    taught = TrainConfig(steps=most, lr=rate, backbone_lr=rate, warmup=10, decay=most, weight_decay=0.0)
    by_heart[name] = overfit(fresh(PRESETS[name], seed), small, taught)
    first, end = by_heart[name].looks[0], by_heart[name].looks[-1]
    print(f"{name:9} live: {first.right:.0%} → {end.right:.0%} of {by_heart[name].cells} cells in {end.step} steps"
          + ("" if end.fine is None else f", fine error {first.fine:.2f} → below {nearly:g} px"))  # fmt: skip
    kept = recipe["overfit"][name]
    print(f"{'':9} record: {kept['right'][-1]:.0%} of {kept['cells']} cells in {kept['step'][-1]} steps"
          + ("" if kept["fine"][-1] is None else f", fine error {kept['fine'][-1]:.3f} px"))  # fmt: skip
assert by_heart["one_conv"].holds() and by_heart["micro"].looks[-1].right == 1
assert by_heart["micro"].looks[-1].fine < nearly
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

show(draw_dependencies(charts), "png")

# %% [markdown]
# ## What moves, what is dead, what could be mended at best
#
# The window that holds the truth, no difference by the order of the images, nothing that could be matched by the
# sensor's noise alone; then the layers one by one, and how far a step moves the weights.

# %%
from dataclasses import replace

from microloftr.config.plain import Config
from microloftr.training.diagnostics.layers import SPREADS, faults, layer_statistics
from microloftr.training.diagnostics.residual import CHANCE, fingerprint, matched_by_noise, noise_pairs
from microloftr.training.diagnostics.swap import swap_gap
from microloftr.training.diagnostics.updates import still, update_ratios
from microloftr.training.diagnostics.window_recall import window_recall
from microloftr.training.stepper import Stepper

recall, swapped, published = window_recall(micro, batch), swap_gap(micro, tiny), swap_gap(models["loftr"], tiny)
print(
    f"{recall.n} matches: own cell {recall.own:.1%}, one beside {recall.beside:.1%}, in the window {recall.inside:.1%}"
)
print(f"order of the images: micro the same to rounding, loftr {published.gap:.1f} nats, {published.shared:.0%} shared")
noise = {kind: noise_pairs("easy", renewed=kind == "renewed") for kind in ("renewed", "shared")}
for kind, given in noise.items():
    print(f"noise alone, {kind:8}: {fingerprint(given).found:5.1%} of the residual's patches found (by chance "
          f"{CHANCE:.1%}), {matched_by_noise(micro, given):5.1%} of micro's cells right")  # fmt: skip
stepped = Stepper(
    load_model(shipped("micro")),
    Config(train=replace(setting, lr=6e-4, backbone_lr=3e-4, warmup=0)),
    torch.device("cpu"),
)
assert swapped.holds() and not published.holds() and recall.holds() and not still(update_ratios(stepped, batch))
assert fingerprint(noise["renewed"]).holds() and not fingerprint(noise["shared"]).holds()

# %% [markdown]
# Trained `micro`, from the image to the last layer: the spread of what each layer gives, and the size of the loss's
# gradient in it. Grey is where a spread must lie. A dead layer would have none, exploding activations would climb.

# %% tags=["figure:recipe_layers"]
from microloftr.views.recipe_figures import draw_layers, draw_moving

statistics = layer_statistics(micro, batch)
assert not faults(statistics)
show(draw_layers(statistics, SPREADS), "png")

# %% [markdown]
# The first step of Adam moves every number by the rate, whatever its gradient, so that update against weight says
# something only after some steps. `micro` from random weights at the rates of training; grey is a tenth to ten times
# the usual 1e-3. A hundred times the rate leaves it at once, a thousandth never gets there; the tests hold it to that.

# %% tags=["figure:recipe_moving"]
moving = recipe["moving"]
print(f"parts outside {moving['band'][0]:g} to {moving['band'][1]:g} from step {moving['settled']} on: "
      f"{', '.join(moving['outside']) or 'none'}")  # fmt: skip
assert not moving["outside"]
show(draw_moving(moving), "png")

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
twice = read_result("one_conv_twice")
full = twice["values"]["runs"]
print(f"{twice['command']}, commit {twice['commit']}: {full[0]['steps']} steps, {full[0]['pairs']:,} pairs each")
for one in full:
    print(f"  {one['run']}: seed {one['seed']}, weights {one['sha256'][:16]}")
assert full[0]["sha256"] == full[1]["sha256"] != full[2]["sha256"]

# %% [markdown]
# ## The answers

# %%
from literate.questions import answer

row = {(r["preset"], r["size"], r["training"]): r for r in recipe["starts"]}
widest = row["micro", 320, False]
answer(
    "Q18",
    "It is ln L0 + ln L1 + 2 softplus(−b) for the coarse loss and softplus(b) for matchability: with 320 px crops "
    "derived {derived:.2f} nats, measured {value:.2f} for micro and {one_conv:.2f} for one_conv, whose random features "
    "already know something; on blank images one_conv is {blank_gap:.5f} nats from it; matchability derived "
    "{matchability:.4f}, measured {matchability_measured:.4f}; the published loftr starts at {loftr:.1f} in training "
    "where {loftr_derived:.1f} is derived.",
    value=widest["measured"]["coarse"],
    unit="nats",
    n=len(recipe["starts"]),
    more={
        "derived": widest["derived"]["coarse"],
        "one_conv": row["one_conv", 320, False]["measured"]["coarse"],
        "blank_gap": round(blank_gap, 5),
        "matchability": round(fine.derived.matchability, 4),
        "matchability_measured": round(fine.measured.matchability, 4),
        "heat": widest["measured"]["heat"],
        "heat_derived": widest["derived"]["heat"],
        "offset": widest["measured"]["offset"],
        "offset_derived": widest["derived"]["offset"],
        "loftr": row["loftr", 128, True]["measured"]["coarse"],
        "loftr_derived": row["loftr", 128, True]["derived"]["coarse"],
        "clamped_dead": widest["clamped_dead"],
        "clamped_dead_one_conv": row["one_conv", 320, False]["clamped_dead"],
        "dead": widest["dead"],
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
        "large_steps": large["setting"]["steps"],
        "large_heeded": large["curves"]["heeded"]["total"][-1],
        "large_not_heeded": large["curves"]["not_heeded"]["total"][-1],
        "large_nothing": large["knowing_nothing"],
        "large_dead": large["dead"]["not_heeded"],
        "large_accuracy": large["curves"]["heeded"]["accuracy"][-1],
        "large_not_heeded_accuracy": large["curves"]["not_heeded"]["accuracy"][-1],
        "large_saved": large["saved"],
    },
)

# %%
answer(
    "Q20",
    "Real images beat both: after {steps} steps one_conv pays {value:.2f} nats on held-out pairs, with images of zeros "
    "{zeros:.2f}, which is what knowing nothing costs ({nothing:.2f}, derived), and with the truth of another pair "
    "{shuffled:.2f}; micro, which knows places, pays {micro_zeros:.2f} with zeros after {micro_steps} steps, where "
    "knowing nothing costs {micro_nothing:.2f} and real images bring {micro_real:.2f}.",
    value=total["heeded"][-1],
    unit="nats",
    more={
        "steps": last,
        "zeros": total["zeros"][-1],
        "shuffled": total["shuffled"][-1],
        "nothing": recipe["derived"]["knowing_nothing"],
        "micro_zeros": blind["curves"]["zeros"]["total"][-1],
        "micro_real": blind["curves"]["real"]["total"][-1],
        "micro_nothing": blind["knowing_nothing"],
        "micro_steps": blind["setting"]["steps"],
        "micro_zeros_accuracy": blind["curves"]["zeros"]["accuracy"][-1],
        "micro_real_accuracy": blind["curves"]["real"]["accuracy"][-1],
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
    "differ in {value} of {n} weights, another seed in {other}; two of {full_steps} steps on all bundled micrographs "
    "have {digests} digest between them.",
    value=differing,
    unit="weights",
    n=weights,
    more={
        "other": of_other,
        "steps_of_shipped": read_result("training_one_conv")["values"]["recipe"]["steps"],
        "full_steps": full[0]["steps"],
        "full_pairs": full[0]["pairs"],
        "digests": len({one["sha256"] for one in full[:2]}),
        "digest": full[0]["sha256"][:16],
        "digest_again": full[1]["sha256"][:16],
        "digest_other": full[2]["sha256"][:16],
        "seconds": full[0]["seconds"],
    },
)
