"""The rows of a record on disk, and how to open the pair behind any of them.

`inspect` for what was just evaluated is a method of `Evaluation`; here are its twins for files: the CSV that
`python -m microloftr stages` wrote, and the files of predictions that `evaluate` left.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from microloftr.evaluation.matchers import get_matcher
from microloftr.evaluation.predictions import Predictions
from microloftr.evaluation.protocols import Pair, PairSource
from microloftr.evaluation.score import score_pairs, transform_by
from microloftr.evaluation.stage_pairs import drawn_pairs
from microloftr.evaluation.stage_scores import runner_of
from microloftr.evaluation.stages import Evaluation, read_rows
from microloftr.evaluation.summary import PairScore
from microloftr.results import read_result
from microloftr.views.explorers.inspect import View, draw_explorer, explore
from microloftr.views.inspect_figures import Opened, Way


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows and what opens the pair of one of them."""

    rows: Sequence[PairScore] = field(repr=False)
    open: Callable[[PairScore], Opened] = field(repr=False)

    def inspect(
        self, which: str = "worst", *, by: str = "error_px", stage: str = "final", group: str = "all"
    ) -> Figure:
        """The worst, the median or the best pair by a field of the rows, as `Evaluation.inspect`."""
        return draw_explorer(self.rows, self.open, View(which, group, stage, by))

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
        images = pair.image_0, pair.image_1
        return Opened(pair.id, pair.group, pair.modality or "", *images, pair.homography, ways)

    return Rows(rows, open_row)


def reopened(
    table: Path, name: str = "stages", *, folder: Path | None = None, matcher: Any = None,
    dataset: str | Sequence[Pair] | None = None,
) -> Evaluation:  # fmt: skip
    """The evaluation whose rows lie in the CSV `table` and whose record is NAME.json, its pairs made anew when opened.

    matcher, dataset: where the record's name alone does not lead to them, as for weights or a folder of your own.
    """
    values = read_result(name, folder)["values"]
    made = get_matcher(values["matcher"]) if matcher is None else matcher
    drawn = (values[key] for key in ("n_samples", "seed", "split", "size"))
    pairs = drawn_pairs(values["dataset"] if dataset is None else dataset, *drawn)
    return Evaluation(values, read_rows(table), pairs, runner_of(made))
