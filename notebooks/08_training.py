# %% [markdown]
# # How does a training run go, when does it stop, and is it the same however it is started?
#
# A run makes its pairs, lowers a loss and looks at held-out pairs now and then. This notebook shows one that was really
# made, what a fixed batch of predictions does meanwhile, a run that stops early against one that goes on, and then
# trains a small model here: by the library, by the command and by papermill.
#
# | parameter | meaning |
# |---|---|
# | `overrides` | the small run of the live cell: what `python -m microloftr train` takes |
# | `patience` | validations without a gain after which a run stops, for the curves shown |
# | `shown` | which of the fixed pairs the strip shows |

# %% tags=["parameters"]
overrides = [
    "model=one_conv",
    "data.mixture=easy",
    "data.crop=96",
    "data.batch=8",
    "train.init=none",
    "train.steps=120",
    "train.lr=3e-3",
    "train.backbone_lr=3e-3",
    "train.warmup=10",
    "train.decay=40",
    "train.average=0.9",
    "train.precision=32",
    "train.validate_every=30",
    "train.validation_pairs=8",
    "train.draw_every=30",
    "train.patience=3",
]
patience = 4
shown = 0

# %%
import os
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from literate.parameters import check_parameters
from microloftr.errors import ParameterError
from microloftr.results import read_result

check_parameters("08_training", globals())
if patience < 1 or not 0 <= shown <= 2:
    raise ParameterError("patience must be 1 or more and shown from 0 to 2.")
torch.set_num_threads(1)  # sums in another order differ in their last bit: one thread for every way of starting a run
folder = tempfile.TemporaryDirectory(prefix="microloftr_")
work = Path(folder.name)

# %% [markdown]
# ## A real run
#
# One command, from XFeat's backbone to the end of its schedule, as `python -m microloftr training-record` wrote it. The
# network alone is validated, on small crops: *hard* and *extreme* turn them by up to ±180°, which is the Matcher's job
# and not the network's. So compare a curve with itself; a run is judged by *easy* and *medium* (`train.judged`).

# %%
from microloftr.training.record import rates_of, stop_of

record = read_result("training_retrained")
values, recipe = record["values"], record["values"]["recipe"]
config = values["config"]
print(f"command: {record['command']}")
print(f"commit {recipe['commit']}, seed {record['seed']}, device {recipe['device']}")
print(f"{recipe['steps']:,} steps of {config['data']['batch']} pairs of {config['data']['crop']} px, "
      f"from {recipe['init']}: {recipe['pairs']:,} pairs")  # fmt: skip
if "note" in recipe:
    print(f"note: {recipe['note']}")
print(f"coarse loss of training {values['coarse'][0]:.1f} → {values['coarse'][-1]:.1f} nats, true cells found "
      f"{values['accuracy'][0]:.0%} → {values['accuracy'][-1]:.0%}")  # fmt: skip
stop = stop_of(values, patience)
long_stop = "it would not have stopped"
if stop is not None:
    print(f"validation loss {stop['losses'][0]:.2f} after step {stop['steps'][0]}, {stop['best']:.2f} at best, "
          f"after step {stop['best_step']}")  # fmt: skip
    if stop["stop_step"] is not None:
        long_stop = f"it would have stopped at step {stop['stop_step']}"
    print(f"with a patience of {patience} validations {long_stop}")
last_leg = read_result("training")["values"]["recipe"]
print(f"the shipped weights' last leg: {last_leg['steps']:,} steps on from step {last_leg['descent']['steps']:,} of "
      f"another run, commit {last_leg['commit']}; {last_leg['note']}")  # fmt: skip

# %% tags=["figure:training_run"]
from microloftr.views.figures import show
from microloftr.views.training_figures import draw_run

show(draw_run(values, stop, rates_of(values)), "png")

# %% [markdown]
# ## Where the time goes
#
# `python -m microloftr profile-training` waits after every stage and counts.

# %%
speed = read_result("training_speed")
print(f"{speed['command']}: {speed['values']['pairs_per_s']:.1f} pairs per second of {speed['values']['crop']} px, "
      f"{speed['values']['threads']} threads, {speed['device']}, commit {speed['commit']}")  # fmt: skip
noted = values.get("pairs_per_s", [])
if noted:
    print(f"the run above, beside other work: {np.median(noted):.1f} pairs per second, {min(noted):.1f} at worst")

# %% tags=["figure:training_time"]
from microloftr.views.training_figures import draw_time

show(draw_time(speed["values"]), "png")

# %% [markdown]
# ## What is predicted meanwhile
#
# A loss says how much is wrong, not what. So three pairs of held-out micrographs are shown to the network every few
# steps of a small run, always the same three, and what it says is kept. Above image_0 with its cells, below image_1
# with the places where the network puts them: blue is right, orange wrong, with a line from the true place.

# %%
from microloftr.data.fixed import split_atlas
from microloftr.training.diagnostics.dynamics import moved, settles, unpacked
from microloftr.training.dynamics_record import fixed_batch
from microloftr.training.supervision import supervise

kept = read_result("dynamics")
run = kept["values"]
batch = fixed_batch(split_atlas("validation"), len(run["frames"][0]["pairs"]), run["config"]["data"]["crop"])
truth = supervise(batch)
seen = [unpacked(one, batch, truth) for one in run["frames"]]
print(f"{kept['command']}: commit {kept['commit']}, seed {kept['seed']}, {kept['device']}")
changes = [moved(before, after) for before, after in pairwise(seen)]
for one, change in zip(run["frames"], [None, *changes], strict=True):
    told = "" if change is None else f", {change:.0%} of the cells put elsewhere"
    print(f"step {one['step']:4}: {one['accuracy']:.0%} right, median error {one['error']:.1f} px{told}")
assert abs(seen[-1].numbers()["accuracy"] - run["frames"][-1]["accuracy"]) < 1e-3
assert settles(seen)  # a frozen model moves nothing, and at too high a rate the cells keep jumping

# %% tags=["figure:training_dynamics"]
from microloftr.views.dynamics_figures import frame, show_bytes, strip_bytes

show_bytes(strip_bytes([frame(one, batch.images_0, batch.images_1, first=shown) for one in seen]), "png")

# %% [markdown]
# The same, moving, for all three pairs:

# %%
from microloftr.results import results_folder
from microloftr.training.dynamics_record import ATTACHMENT

show_bytes((results_folder().parent / ATTACHMENT).read_bytes(), "webp")

# %% [markdown]
# ## When to stop
#
# Pairs that are made on the fly never come twice, so the long run has nothing to learn by heart. Here is one that has:
# the same few pairs again and again. The rule, Lightning's `EarlyStopping`: stop after `train.patience` validations in
# a row without a gain of more than `train.min_delta`, and keep the weights that validated best. The first run went on,
# to show what the rule would have saved; the second, on two micrographs, Lightning really stopped.

# %%
early = read_result("early_stopping")
few, halt = early["values"], early["values"]["stop"]
print(f"{early['command']}: commit {early['commit']}, seed {early['seed']}, {early['device']}")
print(f"{few['learnt_pairs']} pairs, again and again; validated every {few['config']['train']['validate_every']} steps")
print(f"best after step {halt['best_step']}: {halt['best']:.2f}; stops at step {halt['stop_step']}; "
      f"after step {halt['last_step']}: {halt['last']:.2f}")  # fmt: skip
print(f"loss of training meanwhile: {few['training']['loss'][0]:.2f} → {few['training']['loss'][-1]:.2f}")
for level, losses in few["validation"]["losses"].items():
    judged = ", judged" if level in few["config"]["train"]["judged"] else ""
    print(f"  {level}: {losses[0]:.2f} at the start, {min(losses):.2f} at best, {losses[-1]:.2f} at the end{judged}")
really = few["really"]
print(f"{really['overrides'][0]}, {really['micrographs']} micrographs: stopped at step {really['steps']} of "
      f"{really['planned']}; the weights are those of step {really['shipped_step']}")  # fmt: skip
assert 0 < halt["best_step"] < halt["stop_step"] < halt["last_step"]
assert really["steps"] == really["stop"]["stop_step"] < really["planned"]

# %% tags=["figure:early_stopping"]
from microloftr.views.training_figures import draw_stopping

show(draw_stopping(few), "png")

# %% [markdown]
# ## The same run, three ways
#
# A run of a few steps is made three times: by the command, in this notebook, and in a notebook of two cells that
# papermill is given the overrides for. The first and the last are processes of their own, which start here and work
# while the next section does.

# %%
import json

import nbformat
from nbformat.v4 import new_code_cell, new_notebook

from microloftr.training.small_run import few_micrographs

two = few_micrographs(work / "two", 2, 1)
tiny = ["model=one_conv", f"data.folder={two}", "data.crop=64", "data.batch=4", "train.init=none", "train.steps=8",
        "train.warmup=2", "train.decay=1", "train.precision=32", "train.validate_every=2", "train.validation_pairs=2",
        "train.patience=2", "train.min_delta=50"]  # fmt: skip
ways = {way: [*tiny, f"train.out={work}", f"train.run={way}"] for way in ("command", "notebook", "papermill")}
parameters = new_code_cell("overrides = []")
parameters.metadata["tags"] = ["parameters"]
body = "from microloftr.config import load_config\nfrom microloftr.training.run import train\n"
body += "train(load_config(overrides), progress=False, overrides=overrides)"
kernel = {"name": "python3", "language": "python", "display_name": "Python 3"}
two_cells = new_notebook(cells=[parameters, new_code_cell(body)], metadata={"kernelspec": kernel})
nbformat.write(two_cells, work / "two_cells.ipynb")

quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "env": {**os.environ, "OMP_NUM_THREADS": "1"}}
given = ["-k", "python3", "-y", json.dumps({"overrides": ways["papermill"]})]
lines = {
    "command": ["-m", "microloftr", "train", "--quiet", *ways["command"]],
    "papermill": ["-m", "papermill", str(work / "two_cells.ipynb"), str(work / "made.ipynb"), *given],
}
started = {way: subprocess.Popen([sys.executable, *line], **quiet) for way, line in lines.items()}

# %% [markdown]
# ## A run here
#
# One schema, one way in: `load_config` takes what the command line takes, checks every key and its type, and gives a
# plain dataclass. Where `overrides` name no folder, a few of the bundled micrographs are learnt from.

# %%
from microloftr.config import load_config
from microloftr.errors import ConfigError

mine = [*overrides, f"train.out={work}", "train.run=here"]
if load_config(overrides).data.folder == "bundled":
    mine.append(f"data.folder={few_micrographs(work / 'few')}")
small = load_config(mine)
print(f"{small.model.preset}: {small.train.steps} steps of {small.data.batch} pairs of {small.data.crop} px, "
      f"mixture {small.data.mixture}, from {small.train.init}")  # fmt: skip
for wrong in ("train.stepz=3", "train.steps=many", "+train.extra=1", "model.heads=3"):
    try:
        load_config([wrong])
        raise AssertionError(f"{wrong} must be refused")
    except ConfigError as error:
        print(f"  {wrong}: {error}")

# %%
from microloftr.training.record import curves
from microloftr.training.run import train
from microloftr.training.start import atlases_of, starting_model
from microloftr.training.validation import validate

untrained = validate(starting_model(small), atlases_of(small, "cpu")[1], small)
train(small, progress=False, overrides=mine)
here = curves(work / "here", every=small.train.validate_every)  # Lightning notes every tenth step
rule = stop_of(here, max(small.train.patience, 1), small.train.min_delta, small.train.judged)
held = [untrained["easy/coarse"], *here["validation"]["easy"]["coarse"]]
print("coarse loss of held-out pairs, easy: " + " → ".join(f"{loss:.1f}" for loss in held) + " nats")
for level, one in here["validation"].items():
    shares = (untrained[f"{level}/accuracy"], *one["accuracy"])
    print(f"{level}: true cells found " + " → ".join(f"{share:.0%}" for share in shares))
# Lightning validated no more once the rule said stop, and did not stop before
at_end = rule["last_step"] + small.train.validate_every > small.train.steps
assert not small.train.patience or (rule["stop_step"] == rule["last_step"] or (rule["stop_step"] is None and at_end))

# %%
from microloftr.views.training_figures import draw_curve

easy = here["validation"]["easy"]
checks = [{"step": step, "accuracy": share} for step, share in zip(easy["steps"], easy["accuracy"], strict=True)]
checks = [{"step": 0, "accuracy": untrained["easy/accuracy"]}, *checks]
show(draw_curve(here, checks, "held-out pairs, easy"), "png")
moving = work / "here" / "dynamics" / "animation.webp"
if moving.is_file():  # train.draw_every=0 draws none
    show_bytes(moving.read_bytes(), "webp")

# %% [markdown]
# ## Are the three the same?
#
# The third is made here. None of its validations gains `train.min_delta`, so that Lightning stops it early, too.

# %%
from microloftr.evaluation.identity import weights_sha256
from microloftr.matching import Matcher
from microloftr.model.weights import recipe_of

train(load_config(ways["notebook"]), progress=False, overrides=ways["notebook"])
for way, process in started.items():
    problem = process.communicate()[1].decode()[-400:]
    assert process.returncode == 0, f"{way}: {problem}"

digests, halted = {}, {}
for way in ways:
    weights = work / way / "weights.safetensors"
    digests[way] = weights_sha256(Matcher.from_pretrained(str(weights), device="cpu"))
    halted[way] = stop_of(curves(work / way), 2, 50)
    which = "as by the command" if digests[way] == digests["command"] else "others"
    print(f"{way:10} stopped at step {halted[way]['stop_step']} of 8; weights of step "
          f"{recipe_of(weights)['best_step']}, {which}")  # fmt: skip
    assert halted[way]["stop_step"] == halted[way]["last_step"] == 6
assert len(set(digests.values())) == 1
folder.cleanup()  # nothing of these runs is kept

# %% [markdown]
# What each of the two libraries does here:
#
# | Hydra: `config/schema.py` | Lightning: `training/run.py`, `callbacks.py` |
# |---|---|
# | groups `model`, `data`, `train`, `eval`, presets that say their command | the loop, the device, several processes |
# | one typed schema: a wrong key or type is refused by name | stopping, checkpoints, the average of the weights |
# | overrides from command line, papermill and notebooks alike | logs, progress bar, pictures of a fixed batch |
#
# What they do not do: pairs, loss, optimizer and rate are plain functions, and the training core uses them without
# either library.
#
# ## The answer

# %%
from literate.questions import answer

answer(
    "Q05",
    "`train.patience` ends a run after so many validations without a gain and keeps the weights that validated best: "
    "on {pairs} pairs learnt by heart the validation loss is lowest after step {best_step}, a patience of {patience} "
    "stops at step {stop_step} of {last_step}, and going on raises it by {value:.1f} nats while the loss of training "
    "falls from {training_first:.1f} to {training_last:.1f}; a run on {really_of} micrographs really stopped at step "
    "{really_step} of {really_planned} and kept the weights of step {really_best}; of the long training's "
    "{long_checks} validations the best is the one after step {long_best}, and with a patience of {long_patience} "
    "{long_stop}.",
    value=round(halt["last"] - halt["best"], 4),
    unit="nats",
    n=len(few["validation"]["steps"]),
    more={
        "pairs": few["learnt_pairs"],
        "best": halt["best"],
        "best_step": halt["best_step"],
        "patience": halt["patience"],
        "stop_step": halt["stop_step"],
        "last_step": halt["last_step"],
        "saved": round(1 - (halt["stop_step"] or halt["last_step"]) / halt["last_step"], 4),
        "training_first": few["training"]["loss"][0],
        "training_last": few["training"]["loss"][-1],
        "long_checks": 0 if stop is None else len(stop["steps"]),
        "long_best": None if stop is None else stop["best_step"],
        "long_stop": long_stop,
        "really_of": really["micrographs"],
        "really_step": really["steps"],
        "really_planned": really["planned"],
        "really_best": really["shipped_step"],
        "hard_first": few["validation"]["losses"]["hard"][0],
        "hard_last": few["validation"]["losses"]["hard"][-1],
    },
    settings={"long_patience": patience},
)

# %%
answer(
    "Q17",
    "Hydra composes the configuration from groups and presets and refuses what does not fit its schema; Lightning "
    "runs the steps and brings stopping, checkpoints, averaging, logs and pictures as callbacks: the same run by "
    "command, in a notebook and by papermill stops at step {stop_step} each time and leaves {value} set of weights, "
    "equal to the last bit in all {n}.",
    value=len(set(digests.values())),
    n=len(digests),
    more={"stop_step": max(one["stop_step"] for one in halted.values()), "digest": digests["command"][:16]},
)

# %%
first, last = run["frames"][0], run["frames"][-1]
cells = seen[0].matched.sum()
answer(
    "Q22",
    "In {steps} steps from XFeat's backbone the share of right cells of {pairs} fixed pairs goes from "
    "{accuracy_first:%} to {value:%} and the median error from {error_first:.1f} to {error_last:.1f} px; between the "
    "first two looks {moved_first:%} of the {n} cells are put elsewhere, between the last two {moved_last:%}.",
    value=last["accuracy"],
    n=int(cells),
    more={
        "steps": last["step"],
        "pairs": len(seen[0].cells_1),
        "accuracy_first": first["accuracy"],
        "error_first": first["error"],
        "error_last": last["error"],
        "moved_first": round(changes[0], 4),
        "moved_last": round(changes[-1], 4),
        "looks": len(seen),
    },
)
