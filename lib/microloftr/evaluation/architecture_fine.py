"""Fine stages judged on the same matches and pairs, and timed: widths against 92, readings against ours."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from microloftr.data.atlas import Atlas
from microloftr.evaluation.architecture_summary import compared_pairs, compared_stages
from microloftr.evaluation.cell_choices import FineStage, Schedule, seen
from microloftr.evaluation.fine_forms import FORMS, MAP, READINGS, RULE, WIDTHS, attached, done, fresh, trained
from microloftr.evaluation.network_alone import Levels, Rule, by_level, judged, looked
from microloftr.evaluation.refined_cells import CHUNK, VALIDATION_SEED, judge
from microloftr.model.coarse_matching import CoarseMatches
from microloftr.model.loftr import LoFTR
from microloftr.model.transformer import Transformer
from microloftr.training.step import LossWeights
from microloftr.views.refinement_study import OWN

GROUPS = {"width": (WIDTHS, "92-4"), "reading": (READINGS, "ours")}  # with what each of a group is compared
STEPS, BATCH, PER_PAIR = 160, 16, 32
VALIDATION_PAIRS = 96
WINDOWS, GRID, RUNS = 1000, 40, 3
Progress = Callable[[Sequence[Any]], Iterable[Any]]


def schedule_of(steps: int, seed: int) -> Schedule:
    """The training of every stage: `steps` batches of BATCH pairs, PER_PAIR windows of each."""
    return Schedule(steps, BATCH, seed=seed, weights=replace(LossWeights(), refined_per_pair=PER_PAIR))


def folder_of(folder: Path, steps: int, seed: int) -> Path:
    """Where the stages of a seed lie."""
    return folder / "fine" / f"{steps}_steps" / f"seed_{seed}"


def study(
    model: LoFTR,
    atlases: tuple[Atlas, Atlas],
    levels: Levels,
    steps: int,
    seeds: Sequence[int],
    folder: Path,
    train: bool = True,
    progress: Progress = iter,
) -> dict[str, Any]:
    """The part `fine` of the record: by seed and form the values, differences and verdicts.

    train: whether stages are trained to the end, or judged as the folder's checkpoint has them; `steps_done` tells.
    """
    learnt, held_out = atlases
    sources = [pair.source for pair in next(iter(levels.values()))]
    chunks = [np.arange(first, first + CHUNK) for first in range(0, VALIDATION_PAIRS, CHUNK)]
    part: dict[str, Any] = {
        "steps": steps,
        "pairs_per_step": BATCH,
        "per_pair": PER_PAIR,
        "crop": Schedule().crop,
        "rate": Schedule().rate,
        "rule": RULE,
        "map": MAP,
        "pairs_per_level": len(sources),
        "seeds": {},
    }
    for seed in seeds:
        schedule = schedule_of(steps, seed)
        place = folder_of(folder, steps, seed)
        last = steps if train else done(place)
        stages = trained(model, FORMS, learnt, schedule, place, last, progress)
        part |= {"steps_done": last, "trained_pairs": last * BATCH}
        batches = [
            seen(model, held_out, VALIDATION_SEED, chunk, schedule.crop, model.config.threshold) for chunk in chunks
        ]
        found = {key: judge(stage, batches, "", held_out.specimens) for key, stage in stages.items()}
        pairs = of_pairs(model, stages, levels, progress)
        one = next(iter(found.values()))
        part |= {"matches": len(one.error), "own_matches": int((one.distance <= OWN).sum())}
        part |= {"specimens": len(set(one.specimen)), "pairs": VALIDATION_PAIRS}
        part["seeds"][str(seed)] = grouped(found, pairs, sources)
        for key, stage in stages.items():
            part["seeds"][str(seed)][key] |= size_of(stage)
    return part


def of_pairs(model: LoFTR, stages: dict[str, FineStage], levels: Levels, progress: Progress = iter) -> dict[str, Any]:
    """Error, precision and matches of the network alone with each stage, by level and pair."""
    models, rule = {key: attached(model, stage) for key, stage in stages.items()}, Rule("", model.config.threshold)

    def of(pair: Any) -> dict[str, dict[str, float]]:
        return {key: judged(partners, rule, pair) for key, partners in looked(models, pair, rule).items()}

    return by_level({level: [of(pair) for pair in progress(pairs)] for level, pairs in levels.items()})


def grouped(found: dict[str, Any], pairs: dict[str, Any], sources: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Rows of every form, each against its own group's reference."""
    rows: dict[str, dict[str, Any]] = {}
    for group, (forms, reference) in GROUPS.items():
        of_cells = compared_stages({key: found[key] for key in forms}, reference)
        of_levels = compared_pairs({key: pairs[key] for key in forms}, reference, sources)
        for key, form in forms.items():
            told = {"words": form.words, "group": group, "against": forms[reference].words}
            rows[key] = {**told, **of_levels[key], **of_cells[key]}
    return rows


def size_of(stage: FineStage) -> dict[str, int]:
    """Weights of the refinement alone, and of the fine map."""
    parts = {"parameters": stage.refinement, "map_parameters": stage.fine_features}
    return {name: sum(weight.numel() for weight in part.parameters()) for name, part in parts.items()}


def times(config: Any) -> dict[str, Any]:
    """Milliseconds of one core, the least of RUNS: refinement of 1,000 windows by form (without the fine map), and the
    transformer over the cells of a pair of 320×320 px by kind of attention."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        fine = {key: round(_of_windows(fresh(form, config, 0), config.dim), 1) for key, form in FORMS.items()}
        coarse = torch.randn(1, config.dim, GRID, GRID, generator=torch.Generator().manual_seed(0))
        attention = {"none": 0.0}
        for kind in ("linear", "full"):
            transformer = Transformer(config.dim, config.heads, config.layers, kind).eval()
            attention[kind] = round(_least(lambda one=transformer: one(coarse, coarse)), 1)
    finally:
        torch.set_num_threads(threads)
    return {"windows": WINDOWS, "cells": GRID**2, "fine": fine, "attention": attention}


def _of_windows(stage: FineStage, dim: int) -> float:
    generator = torch.Generator().manual_seed(0)
    fine = torch.randn(1, MAP, 4 * GRID, 4 * GRID, generator=generator)
    coarse = torch.randn(1, dim, GRID, GRID, generator=generator)
    cells = torch.randint(GRID**2, (2, WINDOWS), generator=generator)
    matches = CoarseMatches(torch.zeros(WINDOWS, dtype=torch.long), *cells, torch.ones(WINDOWS))
    return _least(lambda: stage.refinement(fine, fine, coarse, coarse, matches))


def _least(work: Callable[[], Any]) -> float:
    """Milliseconds of the fastest of RUNS, after one to warm up; what other programs do meanwhile does not count."""
    spent = []
    with torch.inference_mode():
        for _ in range(RUNS + 1):
            start = time.process_time()
            work()
            spent.append(1000 * (time.process_time() - start))
    return min(spent[1:])
