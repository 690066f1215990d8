"""Fine stages of other widths and of other readings, trained side by side on a frozen coarse part.

Backbone, transformer and coarse matching do not move, so that all stages see the same features, pairs and cells. A
training goes on from its checkpoint: pairs follow from the seed and the step's number.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from microloftr.data.atlas import Atlas
from microloftr.errors import ParameterError
from microloftr.evaluation.cell_choices import FineStage, Schedule, fine_loss, seen
from microloftr.model.loftr import LoFTR
from microloftr.model.presets import FINE_STRIDE, ModelConfig
from microloftr.model.refinement import FineFeatures, Refinement
from microloftr.model.windows import Refined, window_places
from microloftr.training.packed import load_tensors, save_tensors

RULE = "moved"  # which cells are refined in training: micro's own rule
MAP = 32  # channels of every stage's fine map, as micro's: what differs is how windows are compared and read
SAVE_SECONDS = 60
TRAINED_BY = "checkpoint.pt"


@dataclass(frozen=True)
class Form:
    """A fine stage on a fine map of MAP channels: the published one with a transformer of `dim` channels and `heads`
    heads, or micro's without a transformer (heads 0), read by `reading` (pick, plain or whole)."""

    words: str
    dim: int = 0
    heads: int = 0
    window: int = 9
    reading: str = "pick"


WIDTHS = {
    f"{dim}-{heads}": Form(f"{dim} channels, {heads} heads of {dim // heads}", dim, heads, 5)
    for dim, heads in ((64, 4), (92, 4), (96, 4), (96, 8), (128, 8))
}
READINGS = {
    "whole": Form("mean place of the whole window", reading="whole"),
    "plain": Form("best place, then the 3×3 around it", reading="plain"),
    "ours": Form("best place, 3×3, learnt correction (micro)"),
}
FORMS = WIDTHS | READINGS


class NoCorrection(nn.Module):
    """In place of the learnt correction: none."""

    def forward(self, known: Tensor) -> Tensor:
        """What is known of M matches (M, K) → (M, 2) zeros."""
        return known.new_zeros(len(known), 2)


class WholeWindow(Refinement):
    """micro's heat, read as published: its mean place over the whole window, without a fine transformer."""

    def pick(self, log_heat: Tensor, centre_0: Tensor, windows_1: Tensor) -> Refined:
        """The expectation over the window; the peak as in `Refinement`."""
        places = window_places(self.window, log_heat) * FINE_STRIDE
        offset = log_heat.exp() @ places
        return Refined(offset, log_heat, places[log_heat.argmax(1)], centre_0[:, None], windows_1)


def config_of(form: Form, config: ModelConfig) -> ModelConfig:
    """A model's configuration with this fine stage; the transformer of a window has linear attention, as published."""
    if not form.heads:
        return replace(config, refinement="pick", fine_dim=MAP, window=form.window)
    changed = {"fine_dim": form.dim, "fine_heads": form.heads, "window": form.window, "attention": "linear"}
    return replace(config, refinement="expectation", **changed)


def fresh(form: Form, config: ModelConfig, seed: int) -> FineStage:
    """An untrained stage that fits the coarse part of `config`. Raises ParameterError for an unknown reading."""
    if form.reading not in ("pick", "plain", "whole"):
        raise ParameterError(f"a fine stage is read by pick, plain or whole, not by {form.reading!r}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        stage = FineStage(LoFTR(config_of(form, config)))
        if form.heads:  # the published merge takes a map as wide as its transformer; this one takes MAP channels
            stage.refinement.merge = nn.Linear(MAP + form.dim, form.dim)
        torch.manual_seed(seed)
        stage.fine_features = FineFeatures(config.dim, MAP)
    if form.reading == "whole":
        stage.refinement.__class__ = WholeWindow
    if form.reading != "pick":
        stage.refinement.correct = NoCorrection()
    return stage.eval()


def trained(
    model: LoFTR,
    forms: dict[str, Form],
    atlas: Atlas,
    schedule: Schedule,
    folder: Path,
    last: int | None = None,
    progress: Callable[[Sequence[int]], Any] = iter,
) -> dict[str, FineStage]:
    """A trained stage of every form, from its fresh start or from `folder`'s checkpoint, which is written each minute.

    last: step before which it stops, to go on later; None: the schedule's. Losses are micro's, in bfloat16 where torch
    says so. `progress` wraps the numbers of the steps that are left.
    Raises ParameterError where the folder holds another training.
    """
    told = told_of(forms, schedule)
    checkpoint = folder / TRAINED_BY
    stages = {key: fresh(form, model.config, schedule.seed).train() for key, form in forms.items()}
    optimizers = {key: torch.optim.AdamW(stage.parameters(), schedule.rate) for key, stage in stages.items()}
    generators = {key: torch.Generator().manual_seed(schedule.seed) for key in stages}
    first = 0
    if checkpoint.is_file():
        held = load_tensors(checkpoint)
        if held["told"] != told:
            raise ParameterError(f"{folder} holds a training of other fine stages; delete it, or train elsewhere.")
        first = held["step"]
        for key in stages:
            stages[key].load_state_dict(held["stages"][key])
            optimizers[key].load_state_dict(held["optimizers"][key])
            generators[key].set_state(held["generators"][key])
    loss, saved = fine_loss(RULE, schedule.weights), time.monotonic()
    last = schedule.steps if last is None else last
    for step in progress(range(first, last)):
        indices = np.arange(step * schedule.pairs, (step + 1) * schedule.pairs)
        batch = seen(model, atlas, schedule.seed, indices, schedule.crop, model.config.threshold)
        rate = schedule.rate * 0.5 * (1 + math.cos(math.pi * step / schedule.steps))
        for key, stage in stages.items():
            with torch.autocast("cpu", torch.bfloat16):
                value = loss(stage, batch, generators[key])
            optimizers[key].zero_grad()
            value.backward()
            nn.utils.clip_grad_norm_(stage.parameters(), schedule.clip)
            optimizers[key].param_groups[0]["lr"] = rate
            optimizers[key].step()
        if time.monotonic() - saved > SAVE_SECONDS or step + 1 == last:
            state = {"told": told, "step": step + 1, "stages": {key: s.state_dict() for key, s in stages.items()}}
            state |= {"optimizers": {key: optimizer.state_dict() for key, optimizer in optimizers.items()}}
            state |= {"generators": {key: generator.get_state() for key, generator in generators.items()}}
            save_tensors(state, checkpoint)
            saved = time.monotonic()
    return {key: stage.eval() for key, stage in stages.items()}


def told_of(forms: dict[str, Form], schedule: Schedule) -> dict[str, Any]:
    """What decides a training, as its checkpoint tells it."""
    names = ("steps", "pairs", "crop", "rate", "clip", "seed")
    weights = {name: getattr(schedule.weights, name) for name in ("heat", "offset", "refined_per_pair", "jitter")}
    shapes = {key: [form.dim, form.heads, form.window, form.reading] for key, form in forms.items()}
    return {"forms": shapes, **{name: getattr(schedule, name) for name in names}, **weights}


def done(folder: Path) -> int:
    """Steps that the checkpoint of a folder has behind it; 0 without one."""
    checkpoint = folder / TRAINED_BY
    return load_tensors(checkpoint)["step"] if checkpoint.is_file() else 0


def attached(model: LoFTR, stage: FineStage) -> LoFTR:
    """The model with another fine stage in place of its own; the rest is shared, not copied."""
    whole = LoFTR.__new__(LoFTR)
    nn.Module.__init__(whole)
    whole.config = model.config
    for name in ("backbone", "transformer", "coarse_matching"):
        setattr(whole, name, getattr(model, name))
    whole.fine_features, whole.refinement = stage.fine_features, stage.refinement
    return whole.eval()
