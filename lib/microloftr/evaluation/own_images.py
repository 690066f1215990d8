"""`python -m microloftr finetune-report [KEY=VALUE …]`: what a training run on one's own micrographs was worth.

The overrides are those of the training. Pairs of the four levels are made from the micrographs that were held out, and
matched by the weights that the run began with and by those that it ended with. A Matcher follows the pixels, which
hides what its network learnt; so the networks are judged alone as well, by the cells that they find.
"""

import argparse
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from microloftr.config import Config, load_config
from microloftr.data.atlas import build_atlas
from microloftr.data.levels import LEVELS
from microloftr.data.pairs import make_pairs
from microloftr.errors import ParameterError
from microloftr.evaluation import metrics
from microloftr.evaluation.ablation_judges import CROP, cells_right, turned_back
from microloftr.evaluation.identity import weights_sha256
from microloftr.evaluation.matchers import public_name
from microloftr.evaluation.protocols import Pair
from microloftr.evaluation.score import ESTIMATOR, THRESHOLD
from microloftr.evaluation.summary import CORRECT, PRECISION_THRESHOLDS, PairScore, summarise
from microloftr.matching import Matcher
from microloftr.model.weights import recipe_of
from microloftr.registration.families import find_homography
from microloftr.results import write_result
from microloftr.training.own import own_micrographs

SEED = 404
SIZE = 320  # of the crops, as in the fixed pairs; less where the micrographs are smaller
CHUNK = 8
CELL_PAIRS = 32  # of each level, for the network alone


def held_out_pairs(config: Config, level: str, count: int) -> Iterator[Pair]:
    """`count` pairs of a level from the held-out micrographs, each micrograph equally often, the same every time."""
    _, micrographs = own_micrographs(config)
    atlas = build_atlas(micrographs)
    size = min(SIZE, int(atlas.sizes.min() / 1.5) // 16 * 16)
    for first in range(0, count, CHUNK):
        indices = np.arange(first, min(first + CHUNK, count))
        batch = make_pairs(atlas, level, SEED, indices, size)
        for row, number in enumerate(indices):
            images = ((x[row, 0] * 255).round().byte().numpy() for x in (batch.images_0, batch.images_1))
            which = int(batch.micrograph[row])
            yield Pair(
                f"{level}/{number:04d}", level, atlas.specimens[which], *images, batch.homography[row].numpy(), 0.0,
                (size, size), (size, size), atlas.modalities[which], float(batch.overlap[row]),
            )  # fmt: skip


def compare(config: Config, weights: dict[str, str], count: int) -> dict[str, dict[str, dict[str, Any]]]:
    """{level: {name: summary}} of the matchers `weights` {name: preset or file} on the same pairs."""
    matchers = {name: Matcher.from_pretrained(path) for name, path in weights.items()}
    values: dict[str, dict[str, dict[str, Any]]] = {}
    for level in LEVELS:
        scores: dict[str, list[PairScore]] = {name: [] for name in matchers}
        for pair in held_out_pairs(config, level, count):
            for name, matcher in matchers.items():
                scores[name].append(_score(name, matcher, pair))
        values[level] = {name: summarise(rows) for name, rows in scores.items()}
    return values


def network_cells(config: Config, weights: dict[str, str], count: int) -> dict[str, dict[str, float]]:
    """{level: {name: share of right cells}} of the networks alone (`cells_right`), mean over `count` held-out pairs of
    a level; image_1 is turned by quarters so that at most 45° are left, as the Matcher's search would.
    """
    _, micrographs = own_micrographs(config)
    atlas, values = build_atlas(micrographs), {}
    models = {name: Matcher.from_pretrained(path).model.cpu() for name, path in weights.items()}
    for level in LEVELS:
        batch = turned_back(make_pairs(atlas, level, SEED, np.arange(count), CROP))
        values[level] = {name: round(float(np.mean(cells_right(model, batch))), 4) for name, model in models.items()}
    return values


def training_minutes(folder: Path) -> float | None:
    """How long the run took, from the first file that it wrote to its weights; None where it was stopped in between."""
    began = folder / "config.yaml"
    if not began.is_file() or list(folder.glob("metrics.*.csv")):
        return None
    return round(((folder / "weights.safetensors").stat().st_mtime - began.stat().st_mtime) / 60, 1)


def _score(name: str, matcher: Matcher, pair: Pair) -> PairScore:
    matches = matcher.match(pair.image_0, pair.image_1)
    found, inliers = find_homography(matches.points_0, matches.points_1, THRESHOLD)
    both = matches.points_0, matches.points_1, pair.homography
    return PairScore(
        name, "final", pair.group, pair.source, pair.modality or "", pair.id, 0.0, len(matches), int(inliers.sum()),
        metrics.corner_error(found, pair.homography, pair.size_0),
        *metrics.precision(*both, PRECISION_THRESHOLDS).tolist(), metrics.median_correct(*both, CORRECT), np.nan,
    )  # fmt: skip


def table(levels: dict[str, dict[str, dict[str, Any]]], right: dict[str, dict[str, float]]) -> str:
    """Before and after, one line per level; at last the cells that the network alone finds."""
    lines = [f"{'':8}  AUC@3 px          > 10 px            precision@3 px    right cells"]
    for level, rows in levels.items():
        cells = [
            f"{rows['before'][key]:.2f} → {rows['after'][key]:.2f}" for key in ("auc_3", "failures", "precision_3")
        ]
        cells.append(f"{right[level]['before']:.2f} → {right[level]['after']:.2f}")
        lines.append(f"{level:8}  " + "       ".join(cells))
    return "\n".join(lines)


def report(config: Config, count: int, command: str, name: str = "finetune", folder: Path | None = None) -> Path:
    """Compare, print the table and write results/NAME.json. Raises ParameterError where there is no finished run."""
    after = Path(config.train.out) / config.train.run / "weights.safetensors"
    if not after.is_file():
        raise ParameterError(f"there are no weights {after}; train first, by the same overrides")
    if config.data.folder == "bundled":
        raise ParameterError("data.folder is bundled; name the folder whose micrographs the run was trained on")
    if config.train.init in ("none", "xfeat"):
        raise ParameterError(f"train.init is {config.train.init}, so that there is no matcher from before the run")
    learnt, held_out = own_micrographs(config)
    weights = {"before": config.train.init, "after": str(after)}
    levels, cells = compare(config, weights, count), network_cells(config, weights, CELL_PAIRS)
    print(table(levels, cells))
    values = {
        **ESTIMATOR,
        "levels": levels,
        "pairs_per_level": count,
        "cells_right": cells,
        "cell_pairs": CELL_PAIRS,
        "weights": {
            name: {"name": public_name(path), "weights_sha256": weights_sha256(Matcher.from_pretrained(path))}
            for name, path in weights.items()
        },
        "training_minutes": training_minutes(after.parent),
        "learnt_from": len(learnt),
        "held_out": len(held_out),
        "files": {"learnt": [one.name for one in learnt], "held_out": [one.name for one in held_out]},
        "modalities": sorted({one.modality for one in held_out}),
        "recipe": recipe_of(after),
    }
    return write_result(name, values, command=command, seed=SEED, split="held out", folder=folder)


def main(argv: Sequence[str]) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m microloftr finetune-report", description=__doc__.splitlines()[0])
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="as given to train")
    parser.add_argument("--pairs", type=int, default=24, help="pairs of each level")
    arguments = parser.parse_args(argv)
    command = shlex.join(["python", "-m", "microloftr", "finetune-report", *argv])
    path = report(load_config(arguments.overrides), max(arguments.pairs, 1), command)
    print(f"{path.name} written")
    return 0
