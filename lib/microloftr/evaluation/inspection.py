"""The rows of a record on disk, and how to open the pair behind any of them: `python -m microloftr inspect`.

`inspect` for what was just evaluated is a method of `Evaluation`; here are its twins for files: the tables that
`python -m microloftr stages` wrote, and the files of predictions that `evaluate` left. Pairs are made anew when they
are opened, and where no file of predictions is there, a few are predicted on the spot.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from matplotlib.figure import Figure

from microloftr.errors import MicroLoFTRError, ParameterError
from microloftr.evaluation.kept_rows import KeptRows, kept_rows
from microloftr.evaluation.matchers import get_matcher, matcher_key, public_name
from microloftr.evaluation.predict import (
    describe,
    is_current,
    pairs_folder,
    predict,
    predictions_folder,
    predictions_path,
)
from microloftr.evaluation.predictions import Predictions, load_predictions
from microloftr.evaluation.protocols import LEVEL_NAMES, MadePairs, Pair, PairSource, fingerprint, get_protocol
from microloftr.evaluation.score import score_pairs, transform_by
from microloftr.evaluation.stage_pairs import drawn_pairs
from microloftr.evaluation.stage_rows import read_rows, read_short
from microloftr.evaluation.stage_scores import runner_of
from microloftr.evaluation.stages import SHORT, Evaluation
from microloftr.evaluation.summary import PairScore
from microloftr.results import read_result, results_folder
from microloftr.views.explorers.inspect import NUMBERS, View, chosen, draw_explorer, explore
from microloftr.views.figures import save_figure
from microloftr.views.inspect_figures import ERRORS, WHICH, Opened, Way

RECORD, LIMIT = "stages", 12  # the record whose pairs are opened by default; pairs that are predicted on the spot


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows and what opens the pair of one of them."""

    rows: Sequence[PairScore] = field(repr=False)
    open: Callable[[PairScore], Opened] = field(repr=False)

    def inspect(
        self,
        which: str = "worst",
        *,
        by: str = "error_px",
        stage: str = "final",
        group: str = "all",
        modality: str = "all",
    ) -> Figure:
        """The worst, the median or the best pair by a field of the rows, as `Evaluation.inspect`."""
        return draw_explorer(self.rows, self.open, View(which, group, stage, by, modality))

    def explore(self, **view: Any):
        """The widget."""
        return explore(self.rows, self.open, View(**view))


def of_predictions(file: Predictions, protocol: PairSource) -> Rows:
    """The rows of a file of predictions, scored anew, and its pairs with the points as they were predicted."""
    rows = score_pairs(file, protocol)
    number_of = {name: number for number, name in enumerate(file.ids)}

    def open_row(row: PairScore) -> Opened:
        number = number_of[row.id]
        pair, ways = protocol[number], {}
        for one in rows:
            if one.id == row.id:
                points = file.points(number, coarse=one.stage == "coarse")
                ways[one.stage] = Way(*points, transform_by(protocol.estimators[0], *points)[0], one.error_px)
        images, error = (pair.image_0, pair.image_1), ERRORS[protocol.error]
        truth = pair.homography if pair.planar else None
        return Opened(pair.id, pair.group, pair.modality or "", *images, truth, ways, error=error)

    return Rows(rows, open_row)


def reopened(
    table: Path | None = None, name: str = RECORD, *, folder: Path | None = None, matcher: Any = None,
    dataset: str | Sequence[Pair] | None = None,
) -> Evaluation:  # fmt: skip
    """The evaluation whose rows lie in the CSV `table` and whose record is NAME.json, its pairs made anew when opened.

    table: None for the short one that is kept beside the record. matcher, dataset: where the record's name alone does
    not lead to them, as for weights or a folder of your own.
    """
    values = read_result(name, folder)["values"]
    made = get_matcher(values["matcher"]) if matcher is None else matcher
    drawn = (values[key] for key in ("n_samples", "seed", "split", "size"))
    pairs = drawn_pairs(values["dataset"] if dataset is None else dataset, *drawn)
    short = (folder or results_folder()) / f"{name}{SHORT}.csv"
    if table is None and not short.is_file():
        raise ParameterError(f"There is no results/{short.name}; `python -m microloftr stages` writes it.")
    rows = read_short(short) if table is None else read_rows(table)
    return Evaluation(values, rows, pairs, runner_of(made))


def predicted(name: str, protocol: PairSource, quick: PairSource, kept: bool) -> Rows | KeptRows:
    """Rows of the file of predictions where a current one is there, else (if `kept`) those beside the record of
    `evaluate`, else of `quick`, matched on the spot.
    """
    matcher = get_matcher(name)
    path = predictions_path(predictions_folder(), name, protocol)
    if path.is_file() and is_current(path, describe(name, matcher, protocol, fingerprint(protocol))):
        return of_predictions(load_predictions(path), protocol)
    if kept and isinstance(protocol, MadePairs) and protocol.split == "validation":
        try:
            found = kept_rows("evaluate", name)
            return replace(found, rows=[row for row in found.rows if row.group == protocol.name])
        except MicroLoFTRError:
            pass  # a matcher of which no rows are kept
    with TemporaryDirectory() as scratch:
        path = predict(name, quick, Path(scratch), matcher=matcher)
        return of_predictions(load_predictions(path), quick)


def main(argv: list[str] | None = None) -> int:
    options = _options(argv)
    if options.pairs == RECORD:
        found: Any = reopened()
        if public_name(options.matcher) != found.values["matcher"]:
            raise ParameterError(f"results/{RECORD}.json is of {found.values['matcher']}; name other pairs by --pairs.")
        count, stage = len(found.pairs), options.stage or found.runner.stages[-1]
    else:
        limit = LIMIT if options.limit is None else options.limit or None
        protocol, quick = (get_protocol(options.pairs, options.split, some, pairs_folder()) for some in (None, limit))
        found = predicted(options.matcher, protocol, quick, options.limit is None)
        count, stage = len({row.id for row in found.rows}), options.stage or "final"
    view = View(options.which, options.group, stage, options.by, options.modality)
    row = chosen(found.rows, view)
    folder = predictions_folder().parent / "inspect"
    kind = matcher_key(Path(options.pairs).name)
    path = options.out or folder / f"{matcher_key(options.matcher)}_{kind}_{options.which}_{options.by}.png"
    save_figure(draw_explorer(found.rows, found.open, view), path)
    print(f"{options.which} of {count} pairs by {options.by}: {row.id}, {getattr(row, options.by):.4g}")
    print(path)
    return 0


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m microloftr inspect", description="Open the pair behind a number.")
    parser.add_argument("--matcher", default="micro", help="a name, or weights")
    parser.add_argument(
        "--pairs", default=RECORD, help=f"{RECORD}: of that record; {', '.join(LEVEL_NAMES)}, a folder, whole …"
    )
    parser.add_argument("--which", default="worst", choices=WHICH)
    parser.add_argument("--by", default="error_px", help=f"{', '.join(NUMBERS)}, or another number of the rows")
    parser.add_argument("--stage", default=None, help="coarse, fine or final (the last one that there is)")
    parser.add_argument("--group", default="all", help="a level or a group")
    parser.add_argument("--modality", default="all")
    parser.add_argument("--split", default="validation")
    parser.add_argument(
        "--limit", type=int, default=None, help=f"pairs matched where no rows are kept ({LIMIT}; 0: all)"
    )
    parser.add_argument("--out", type=Path, default=None, help="the figure (runs/inspect/…png)")
    return parser.parse_args(argv)
