"""`python -m microloftr worst`: the pairs where a matcher is furthest from the truth, to be looked at.

It reads the predictions that `evaluate` left, and makes them where they are not there.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from microloftr.errors import ParameterError
from microloftr.evaluation.matchers import matcher_key
from microloftr.evaluation.predict import pairs_folder, predict, predictions_folder
from microloftr.evaluation.predictions import Predictions, load_predictions
from microloftr.evaluation.protocols import LEVEL_NAMES, Pair, PairSource, get_protocol
from microloftr.evaluation.score import THRESHOLD, score_pairs
from microloftr.registration.families import find_homography
from microloftr.results import results_folder, write_result
from microloftr.views.figures import save_figure
from microloftr.views.worst_figures import Shown, draw_worst

COUNT = 10
ATTACHMENTS = Path("docs_obsidian/attachments")


def worst(files: Sequence[Predictions], protocols: Sequence[PairSource], count: int = COUNT) -> list[Shown]:
    """The `count` pairs with the largest error over all protocols, worst first.

    Failures without a transform come first, those of earlier protocols before others, then those with fewer matches.
    Where the truth is not known to a third of the failures' limit, a pair is left out.
    """
    rows: list[tuple[tuple[float, int, int], Any, int, int]] = []
    for which, (file, protocol) in enumerate(zip(files, protocols, strict=True)):
        scores = [one for one in score_pairs(file, protocol) if one.stage == "final"]
        for number, score in enumerate(scores):
            if score.accuracy_px <= 3:
                rows.append(((-score.error_px, which, score.matches), score, which, number))
    rows.sort(key=lambda row: row[0])
    return [_shown(files[which], protocols[which][number], number, score) for _, score, which, number in rows[:count]]


def _shown(file: Predictions, pair: Pair, number: int, score: Any) -> Shown:
    found, inliers = find_homography(*file.points(number), THRESHOLD)
    overlap = None if pair.overlap is None else float(pair.overlap)
    return Shown(
        pair.id, pair.group, pair.modality or "", pair.image_0, pair.image_1, pair.homography, found,
        float(score.error_px), len(inliers), int(inliers.sum()), score.precision_3, overlap,
    )  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m microloftr worst", description="Look at the worst pairs of a matcher.")
    parser.add_argument("--matcher", default="micro", help="a name, or weights")
    parser.add_argument("--level", default="all", help=f"all, {', '.join(LEVEL_NAMES)}, or a folder with pairs.json")
    parser.add_argument("--count", type=int, default=COUNT, help=f"pairs ({COUNT})")
    parser.add_argument("--split", default="validation")
    parser.add_argument("--jobs", type=int, default=1, help="processes that match side by side, of one thread each (1)")
    parser.add_argument("--out", type=Path, default=None, help="the figure (an attachment of the vault)")
    parser.add_argument("--results", type=Path, default=None, help="folder of the record (results)")
    options = parser.parse_args(argv)
    if not 1 <= options.count <= 20:
        raise ParameterError(f"The count of pairs must be 1 to 20, got {options.count}.")
    names = LEVEL_NAMES if options.level == "all" else (options.level,)
    protocols = [get_protocol(name, options.split, store=pairs_folder()) for name in names]
    paths = [predict(options.matcher, one, predictions_folder(), jobs=options.jobs) for one in protocols]
    shown = worst([load_predictions(path) for path in paths], protocols, options.count)
    key = matcher_key(options.matcher)
    stem = "worst" if key == "micro" else f"worst_{key}"
    stem += "" if options.level == "all" else f"_{matcher_key(Path(options.level).name)}"
    path = options.out or results_folder().parent / ATTACHMENTS / f"{stem}.png"
    save_figure(draw_worst(shown), path)
    print(path)
    rows = [one.told() for one in shown]
    for row in rows:
        print(" · ".join(str(value) for value in row.values()))
    command = f"python -m microloftr worst --matcher {Path(options.matcher).name} --level {Path(options.level).name}"
    values = {"matcher": Path(options.matcher).name, "pairs": rows}
    print(write_result(stem, values, command=command, split=options.split, folder=options.results))
    return 0
