"""Where micro's refinement still hurts: its network alone on the four levels, match by match."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from microloftr.data.atlas import Atlas
from microloftr.data.levels import LEVELS
from microloftr.data.pairs import make_pairs
from microloftr.evaluation.ablation_judges import turned_back
from microloftr.evaluation.cell_choices import FineStage
from microloftr.evaluation.waterfall_judge import AT_ONCE, SEED, SIZE, points_of, see, truth_of_pair
from microloftr.model.loftr import LoFTR
from microloftr.model.presets import FINE_STRIDE
from microloftr.views.case import Case
from microloftr.views.refinement_study import BESIDE, OWN, errors_of

EDGES = (0.0, 0.5, 1.0, 2.0, 3.0, 4.0, BESIDE)  # px: how far from the cell's centre the truth lies
WORSE = 0.1  # px: what counts as made worse


@dataclass(frozen=True)
class Harmed:
    """One match of a case: how much farther from the truth than its cell refinement put it, and what its heat held."""

    case: int
    index: int
    moved: float  # px
    best: float  # share of the heat at its best place
    true: float  # and at the place nearest to the truth


def harmed(cases: Sequence[Case], count: int) -> tuple[list[Harmed], np.ndarray]:
    """The `count` matches that refinement moved farthest from the truth, worst first, of those not in a wrong cell.

    Also how much of its heat the best place holds (N,), over all N such matches.
    """
    found, shares = [], []
    for number, case in enumerate(cases):
        errors = errors_of([case])
        heat = errors.log_heat.exp().numpy()
        side = int(heat.shape[1] ** 0.5)
        place = np.clip(np.round(errors.truth / FINE_STRIDE).astype(int) + side // 2, 0, side - 1)
        moved = np.hypot(*errors.by_stage["refined"].T) - np.hypot(*errors.by_stage["coarse"].T)
        near = np.flatnonzero(errors.near())
        shares.append(heat[near].max(1))
        for k in near[np.argsort(-moved[near], kind="stable")[:count]]:
            true = heat[k, place[k, 1] * side + place[k, 0]]
            found.append(Harmed(number, int(k), float(moved[k]), float(heat[k].max()), float(true)))
    return sorted(found, key=lambda one: -one.moved)[:count], np.concatenate(shares)


@torch.inference_mode()
def matches_of(model: LoFTR, atlas: Atlas, level: str, count: int) -> dict[str, np.ndarray]:
    """Of all matches of `count` pairs of a level: errors (px) as cells and refined, and the truth's distance (px).

    image_1 is turned by quarters first, so that at most 45° are left. `truth` is taken by the larger axis.
    """
    stage, parts = FineStage(model), {name: [] for name in ("coarse", "fine", "truth")}
    for first in range(0, count, AT_ONCE):
        indices = np.arange(first, min(first + AT_ONCE, count))
        batch = see(model, turned_back(make_pairs(atlas, level, SEED, indices, SIZE)))
        for k, (points_0, coarse, fine) in enumerate(points_of(batch, stage)):
            true = truth_of_pair(points_0, batch.pairs, k)
            parts["coarse"].append((coarse - true).norm(dim=1).numpy())
            parts["fine"].append((fine - true).norm(dim=1).numpy())
            parts["truth"].append((coarse - true).abs().amax(1).numpy())
    return {name: np.concatenate(values) for name, values in parts.items()}


def harm(model: LoFTR, atlas: Atlas, count: int) -> dict[str, Any]:
    """By level, and by the truth's distance from the cell's centre: medians as cells and refined, share made worse."""
    every = {level: matches_of(model, atlas, level, count) for level in LEVELS}
    levels = {}
    for level, found in every.items():
        wrong = found["truth"] > BESIDE
        levels[level] = {**_told(found, ~wrong), "wrong": round(float(np.mean(wrong)), 4) if len(wrong) else None}
        levels[level]["own"] = _told(found, found["truth"] <= OWN)
        levels[level]["beside"] = _told(found, (found["truth"] > OWN) & ~wrong)
    joined = {name: np.concatenate([found[name] for found in every.values()]) for name in ("coarse", "fine", "truth")}
    bins = [
        {"from": low, "to": high, **_told(joined, (joined["truth"] > low) & (joined["truth"] <= high))}
        for low, high in itertools.pairwise(EDGES)
    ]
    return {"levels": levels, "by_distance": bins, "worse_px": WORSE, "pairs": count}


def _told(found: dict[str, np.ndarray], chosen: np.ndarray) -> dict[str, Any]:
    count = int(chosen.sum())
    if not count:
        return {"n": 0, "coarse": None, "fine": None, "worse": None}
    coarse, fine = found["coarse"][chosen], found["fine"][chosen]
    worse = float(np.mean(fine > coarse + WORSE))
    medians = {"coarse": round(float(np.median(coarse)), 4), "fine": round(float(np.median(fine)), 4)}
    return {"n": count, **medians, "worse": round(worse, 4)}
