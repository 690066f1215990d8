"""`python -m microloftr refined-cells`: which cells should be refined in training? Measured on validation pairs.

First the shipped weights, with the refined cells chosen by each rule: what the fine losses see. Then fine stages,
trained by each rule on the training micrographs with the rest frozen, from a fresh start and from the shipped one. All
are judged on the same matches, those that the frozen part finds on pairs of the validation micrographs.
"""

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from microloftr.data.atlas import Atlas
from microloftr.data.fixed import split_atlas
from microloftr.errors import ParameterError
from microloftr.evaluation.cell_choices import RULES, FineStage, Schedule, Seen, choose, seen, train_stages
from microloftr.evaluation.metrics import bootstrap_interval
from microloftr.model.loftr import LoFTR
from microloftr.model.presets import FINE_STRIDE
from microloftr.model.weights import load_model, random_model, shipped
from microloftr.results import write_result
from microloftr.training.losses import heat_loss, offset_loss
from microloftr.views.refinement_study import BESIDE, OWN
from microloftr.views.sheet import Parser

REFERENCE = "moved"  # micro's rule: the others are compared with it
RATES = {"fresh": 1e-3, "shipped": 3e-4}  # of a fine stage that begins at random, and of the shipped one
VALIDATION_SEED, CHUNK = 506, 16
WITHIN = 1.0  # px: a refined point this near is right
RESAMPLES = 400


@dataclass(frozen=True, eq=False)
class Judged:
    """M refined cells: error and the truth's distance from the cell's centre by the larger axis (M,) px; specimen."""

    error: np.ndarray
    distance: np.ndarray
    specimen: np.ndarray


@torch.no_grad()
def judge(stage: FineStage, batches: Sequence[Seen], rule: str, specimens: Sequence[str]) -> Judged:
    """A stage's errors on the cells of validation batches: all that were found, or chosen by another rule of RULES."""
    errors, distances, names = [], [], []
    for batch, cells in _cells(batches, rule):
        target = batch.target(cells)
        errors.append((stage(batch.encoded, cells).offset - target).norm(dim=1).numpy())
        distances.append(target.abs().amax(1).numpy())
        names.append(np.array(specimens)[batch.micrograph[cells.batch_index.numpy()]])
    return Judged(*(np.concatenate(parts) for parts in (errors, distances, names)))


@torch.no_grad()
def losses_of(stage: FineStage, batches: Sequence[Seen], rule: str) -> dict[str, float]:
    """Mean heat loss (nats) and offset loss (px) of a stage on the cells that a rule chooses, taken as in training."""
    heat, offset = [], []
    for batch, cells in _cells(batches, rule):
        refined, target, pairs = stage(batch.encoded, cells), batch.target(cells), len(batch.micrograph)
        heat.append(float(heat_loss(refined.log_heat, target, cells.batch_index, pairs)))
        offset.append(float(offset_loss(refined.offset, target, refined.peak, cells.batch_index, pairs)))
    return {"heat": round(float(np.mean(heat)), 3), "offset": round(float(np.mean(offset)), 3)}


def summarise(judged: Mapping[str, Judged]) -> dict[str, dict[str, Any]]:
    """By rule: median error (px) and share within 1 px of what was found in the own cell or one beside, each with its
    95 % interval over specimens; the medians of both kinds; and the difference of the median from `REFERENCE`'s.

    All judged are the same matches in the same order. `verdict`: better, worse, or a tie where the interval of the
    difference holds 0.
    """
    one = next(iter(judged.values()))
    near = one.distance <= BESIDE
    own = one.distance <= OWN
    groups = {"median": near, "own": own, "beside": near & ~own}

    def statistics(index: np.ndarray) -> np.ndarray:
        table = []
        for given in judged.values():
            medians = [_median(given.error[index[which[index]]]) for which in groups.values()]
            table.append([*medians, float(np.mean(given.error[index[near[index]]] < WITHIN))])
        table = np.array(table)
        return np.hstack((table, table[:, :1] - table[list(judged).index(REFERENCE), 0])).ravel()

    names = [*groups, "within", "difference"]
    interval = bootstrap_interval(statistics, one.specimen, resamples=RESAMPLES)
    if interval is None:
        raise ParameterError("an interval needs pairs of two specimens or more; judge more pairs")
    parts = [part.reshape(len(judged), -1) for part in (statistics(np.arange(len(near))), *interval)]
    rows = {}
    for k, rule in enumerate(judged):
        row = {}
        for end, part in zip(("", "_low", "_high"), parts, strict=True):
            row |= {f"{name}{end}": round(float(x), 4) for name, x in zip(names, part[k], strict=True)}
        said = verdict(row["difference_low"], row["difference_high"])
        rows[rule] = row | {"verdict": said if rule != REFERENCE else "reference"}
    return rows


def verdict(low: float, high: float) -> str:
    """What the interval (low, high) of a difference in error says."""
    return "worse" if low > 0 else "better" if high < 0 else "tie"


def shown(stage: FineStage, batches: Sequence[Seen], specimens: Sequence[str]) -> dict[str, dict[str, float]]:
    """By rule: how many cells it chooses, where their truth lies, a trained stage's losses and median error there."""
    rows = {}
    for rule in RULES:
        judged = judge(stage, batches, rule, specimens)
        beside = (judged.distance > OWN) & (judged.distance <= BESIDE)
        in_window = judged.distance <= stage.refinement.window // 2 * FINE_STRIDE
        shares = {"own": judged.distance <= OWN, "beside": beside, "in_window": in_window}
        rows[rule] = losses_of(stage, batches, rule) | {
            "cells": len(judged.error),
            "median": round(_median(judged.error), 4),
            **{name: round(float(np.mean(which)), 4) for name, which in shares.items()},
        }
    return rows


def study(
    model: LoFTR, learnt: Atlas, held_out: Atlas, schedule: Schedule, pairs: int, progress: Callable = iter
) -> dict[str, Any]:
    """The record's values: `shipped`, what each rule shows a trained stage; `trained`, what each rule teaches one."""
    threshold, specimens = model.config.threshold, held_out.specimens
    chunks = [np.arange(first, min(first + CHUNK, pairs)) for first in range(0, pairs, CHUNK)]
    batches = [seen(model, held_out, VALIDATION_SEED, chunk, schedule.crop, threshold) for chunk in chunks]
    stage = FineStage(model)
    fresh = FineStage(random_model(model.config.preset, schedule.seed))
    starts = {"fresh": dict.fromkeys(RULES, fresh), "shipped": {rule: stage for rule in RULES if rule != "random"}}
    trained: dict[str, Any] = {}
    for name, given in starts.items():
        stages = train_stages(model, given, learnt, replace(schedule, rate=RATES[name]), progress)
        trained[name] = summarise({rule: judge(one, batches, "", specimens) for rule, one in stages.items()})
    before = judge(stage, batches, "", specimens)
    near = before.distance <= BESIDE
    coarse = np.concatenate([batch.target(batch.found).norm(dim=1).numpy() for batch in batches])
    return {
        "shipped": shown(stage, batches, specimens),
        "trained": trained,
        "before": {"coarse": round(_median(coarse[near]), 4), "shipped": round(_median(before.error[near]), 4)},
        "matches": int(near.sum()),
        "wrong": round(float(np.mean(~near)), 4),
        "beside": round(float(np.mean(before.distance[near] > OWN)), 4),
        "specimens": len(set(before.specimen)),
        "pairs": pairs,
        "steps": schedule.steps,
        "pairs_per_step": schedule.pairs,
        "crop": schedule.crop,
        "per_pair": schedule.weights.refined_per_pair,
        "jitter": schedule.weights.jitter,
        "threshold": threshold,
        "rates": RATES,
    }


def main(argv: list[str]) -> int:
    """Command line."""
    parser = Parser(prog="python -m microloftr refined-cells", description="Which cells to refine in training.")
    parser.add_argument("--weights", default="micro", help="shipped weights by name, or a .safetensors file")
    parser.add_argument("--steps", type=int, default=Schedule().steps, help="of each training")
    parser.add_argument("--pairs", type=int, default=96, help="validation pairs")
    parser.add_argument("--results", type=Path, default=None, help="folder of refined_cells.json (results)")
    options = parser.parse_args(argv)
    if options.steps < 1 or not 2 <= options.pairs <= 1000:
        raise ParameterError("--steps must be at least 1 and --pairs 2 to 1000.")
    path = options.weights if options.weights.endswith(".safetensors") else shipped(options.weights)
    schedule = replace(Schedule(), steps=options.steps)
    atlases = split_atlas("train"), split_atlas("validation")
    values = study(load_model(path), *atlases, schedule, options.pairs, lambda steps: tqdm(steps, total=options.steps))
    command = shlex.join(["python", "-m", "microloftr", "refined-cells", *argv])
    print(write_result("refined_cells", values, command=command, seed=schedule.seed, split="validation",
                       folder=options.results))  # fmt: skip
    return 0


def _cells(batches: Sequence[Seen], rule: str) -> Iterator[tuple[Seen, Any]]:
    """Each batch with the cells that a rule chooses of it, the same every time; all that were found for no rule."""
    generator = torch.Generator().manual_seed(0)
    weights = Schedule().weights
    for batch in batches:
        yield batch, choose(rule, batch, weights, generator) if rule else batch.found


def _median(values: np.ndarray) -> float:
    return float(np.median(values)) if len(values) else float("nan")
