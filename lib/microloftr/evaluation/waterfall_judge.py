"""How the rows of the waterfall are judged: the same pairs and coarse matches, refined by one stage or another."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from microloftr.data.atlas import Atlas
from microloftr.data.pairs import PairBatch, make_pairs, true_points_1
from microloftr.errors import ParameterError
from microloftr.evaluation.cell_choices import FineStage
from microloftr.evaluation.metrics import auc, bootstrap_interval, corner_error
from microloftr.evaluation.score import THRESHOLD
from microloftr.geometry import cell_points
from microloftr.matching import Matcher
from microloftr.model.coarse_matching import CoarseMatches, select
from microloftr.model.loftr import LoFTR
from microloftr.model.presets import COARSE_STRIDE
from microloftr.model.trace import Encoded
from microloftr.registration.families import find_homography
from microloftr.views.refinement_study import BESIDE

PROBES = {"shifted": "shifted", "turned": "turned"}
SIZE, SEED, AT_ONCE = 256, 707, 6
AUCS = (1, 3, 5)
RESAMPLES = 400
WITHIN = 1.0  # px
NUMBERS = ("median", "within", *(f"auc_{t}" for t in AUCS))


@dataclass(frozen=True, eq=False)
class Frozen:
    """A batch of pairs as the frozen part of a model sees it, and the cells that it matches."""

    pairs: PairBatch
    encoded: Encoded
    found: CoarseMatches
    width: int


@dataclass(frozen=True, eq=False)
class Row:
    """One way to refine: of each pair the matches' errors (px) and the mean corner error (px, inf for a failure)."""

    errors: list[np.ndarray]  # of the matches whose truth lies in the cell found, or in one beside it
    corner: np.ndarray
    micrograph: np.ndarray
    matches: int
    near: int  # how many of them have their truth in the cell found or beside it


@torch.no_grad()
def see(model: LoFTR, pairs: PairBatch, threshold: float | None = None) -> Frozen:
    """A batch through all of a model but its fine stage. threshold: another one than the model's; 0 for all mutual."""
    pyramids = model.pyramids(pairs.images_0, pairs.images_1)
    coarse_0, coarse_1 = model.transformer(*(pyramid.eighth for pyramid in pyramids))
    encoded = Encoded(*pyramids, coarse_0, coarse_1, None, None)
    shapes = tuple(coarse_0.shape[-2:]), tuple(coarse_1.shape[-2:])
    least = model.config.threshold if threshold is None else threshold
    found = select(model.match_cells(encoded).log_confidence, *shapes, least)
    return Frozen(pairs, encoded, found, shapes[1][1])


def frozen(model: LoFTR, atlas: Atlas, mixture: str, count: int, threshold: float | None = None) -> list[Frozen]:
    """`count` pairs of a mixture, in batches; `threshold` as in `see`."""
    firsts = range(0, count, AT_ONCE)
    return [
        see(model, make_pairs(atlas, mixture, SEED, np.arange(first, min(first + AT_ONCE, count)), SIZE), threshold)
        for first in firsts
    ]


@torch.no_grad()
def points_of(batch: Frozen, stage: FineStage | None) -> list[tuple[torch.Tensor, ...]]:
    """Of each pair the matched points (M, 2): of image_0, of image_1 as cells, and refined (by None: not)."""
    found = batch.found
    points_0 = cell_points(found.cells_0, batch.width, COARSE_STRIDE)
    coarse = cell_points(found.cells_1, batch.width, COARSE_STRIDE)
    fine = coarse if stage is None else coarse + stage(batch.encoded, found).offset
    own = [found.batch_index == k for k in range(len(batch.pairs))]
    return [(points_0[mine], coarse[mine], fine[mine]) for mine in own]


def refined_rows(seen: Sequence[Frozen], stages: Mapping[str, FineStage | None]) -> dict[str, Row]:
    """A row for every fine stage (None: the cells as they are)."""
    rows = {}
    for key, stage in stages.items():
        pairs = []
        for batch in seen:
            for k, (points_0, coarse, fine) in enumerate(points_of(batch, stage)):
                near = (coarse - truth_of_pair(points_0, batch.pairs, k)).abs().amax(1) <= BESIDE
                pairs.append(judged(points_0, fine, near, batch.pairs, k))
        rows[key] = _row(pairs, seen)
    return rows


def by_matcher(seen: Sequence[Frozen]) -> Row:
    """The row of the shipped Matcher as users call it, on the same pairs."""
    matcher, pairs = Matcher.from_pretrained("micro", device="cpu"), []
    for batch in seen:
        for k in range(len(batch.pairs)):
            images = (images[k, 0].numpy() for images in (batch.pairs.images_0, batch.pairs.images_1))
            matches = matcher.match(*images)
            points_0, points_1 = (torch.from_numpy(np.array(p)) for p in (matches.points_0, matches.points_1))
            near = (points_1 - truth_of_pair(points_0, batch.pairs, k)).abs().amax(1) <= BESIDE
            pairs.append(judged(points_0, points_1, near, batch.pairs, k))
    return _row(pairs, seen)


def judged(
    points_0: torch.Tensor, points_1: torch.Tensor, near: torch.Tensor, pairs: PairBatch, k: int
) -> tuple[np.ndarray, float, int]:
    """Of pair k: errors (px) of the matches (M, 2) that are `near`, mean corner error (px), number of matches."""
    error = (points_1 - truth_of_pair(points_0, pairs, k)).norm(dim=1)[near].numpy()
    matrix, _ = find_homography(points_0.numpy().astype(float), points_1.numpy().astype(float), THRESHOLD)
    size = tuple(pairs.images_0.shape[-2:][::-1])
    return error, corner_error(matrix, pairs.homography[k].numpy(), size), len(points_0)


def compared(
    rows: Mapping[str, Row],
    before: Mapping[str, str],
    coarse: Mapping[str, str],
    specimens: Sequence[str],
    start: Mapping[str, str] | None = None,
) -> dict[str, dict[str, Any]]:
    """Each row's median error, share within 1 px and AUC of the corner error, with intervals drawn by specimen.

    `change`, `gain` and `total`: differences of median and AUC@3 from the row that `before`, `coarse` and `start` name
    for it, on the same pairs, with interval and verdict, better, worse or a tie. Raises ParameterError where the pairs
    are of one specimen alone.
    """
    keys, against = list(rows), {"change": before, "gain": coarse, "total": start or {}}
    sources = [specimens[m] for m in rows[keys[0]].micrograph]

    def statistics(index: np.ndarray) -> np.ndarray:
        values = np.stack([_numbers(rows[key], index) for key in keys])
        both = values[:, [NUMBERS.index("median"), NUMBERS.index("auc_3")]]
        others = (np.array([both[keys.index(to.get(key, key))] for key in keys]) for to in against.values())
        return np.concatenate([values.ravel(), *((both - other).ravel() for other in others)])

    interval = bootstrap_interval(statistics, sources, resamples=RESAMPLES)
    if interval is None:
        raise ParameterError("an interval needs pairs of two specimens or more; judge more pairs")
    parts = [statistics(np.arange(len(sources))), *interval]
    told: dict[str, dict[str, Any]] = {}
    values, *differences = (
        [part[first : first + len(keys) * width].reshape(len(keys), width) for part in parts]
        for first, width in _layout(len(keys), len(against))
    )
    for k, key in enumerate(keys):
        row: dict[str, Any] = {}
        for end, part in zip(("", "_low", "_high"), values, strict=True):
            row |= {f"{name}{end}": round(float(part[k, n]), 4) for n, name in enumerate(NUMBERS)}
        row |= {"matches": rows[key].matches, "near": rows[key].near}
        row["failures"] = round(float(np.mean(rows[key].corner > 10)), 4)
        for (name, to), found in zip(against.items(), differences, strict=True):
            if key in to:
                row[name] = {"against": to[key], **_differences([part[k] for part in found])}
        told[key] = row
    return told


def _layout(count: int, kinds: int) -> list[tuple[int, int]]:
    """Where the numbers and each of so many kinds of differences of `count` rows begin, and how wide they are."""
    return [(0, len(NUMBERS)), *((count * (len(NUMBERS) + 2 * k), 2) for k in range(kinds))]


def _differences(parts: Sequence[np.ndarray]) -> dict[str, dict[str, Any]]:
    """By metric the difference with its interval; an error that falls and an AUC that rises are better."""
    told = {}
    for n, (name, sign) in enumerate((("median", -1), ("auc_3", 1))):
        value, low, high = (round(float(part[n]), 4) for part in parts)
        better, worse = (low, high) if sign > 0 else (-high, -low)
        verdict = "better" if better > 0 else "worse" if worse < 0 else "tie"
        told[name] = {"difference": value, "low": low, "high": high, "verdict": verdict}
    return told


def _numbers(row: Row, index: np.ndarray) -> np.ndarray:
    errors = np.concatenate([row.errors[k] for k in index])
    median, within = (np.median(errors), np.mean(errors < WITHIN)) if len(errors) else (np.nan, np.nan)
    return np.array([median, within, *auc(row.corner[index], AUCS)])


def _row(pairs: Sequence[tuple[np.ndarray, float, int]], seen: Sequence[Frozen]) -> Row:
    errors, corner, counts = zip(*pairs, strict=True)
    micrograph = np.concatenate([batch.pairs.micrograph.numpy() for batch in seen])
    return Row(list(errors), np.array(corner), micrograph, sum(counts), sum(map(len, errors)))


def truth_of_pair(points_0: torch.Tensor, pairs: PairBatch, k: int) -> torch.Tensor:
    """Where points (M, 2) of image_0 of pair k lie in its image_1."""
    one = PairBatch(*(getattr(pairs, name)[k : k + 1] for name in PairBatch.__dataclass_fields__ if name != "replaced"))
    return true_points_1(points_0[None], one)[0].float()
