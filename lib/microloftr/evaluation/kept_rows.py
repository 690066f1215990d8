"""The rows behind the tables of `evaluate`, kept beside their records in short, and how to open the pair of any one.

results/evaluate_pairs.csv and results/evaluate_real_pairs.csv have a line per matcher and pair. A pair is made anew and
matched when it is opened, so that nobody needs the predictions.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from microloftr.errors import ParameterError
from microloftr.evaluation.matchers import get_matcher, matcher_key
from microloftr.evaluation.pair import Pair
from microloftr.evaluation.predict import MATCH_CAP, pairs_folder
from microloftr.evaluation.protocols import LEVEL_NAMES, PairSource, get_protocol, real_folder
from microloftr.evaluation.score import transform_by, transform_error
from microloftr.evaluation.score_rows import ROWS, KeptRow, read_kept
from microloftr.results import read_result, results_folder
from microloftr.views.explorers.inspect import explore_tables
from microloftr.views.inspect_figures import ERRORS, Opened, Way

RECORDS = ("evaluate", "evaluate_real")


@dataclass(frozen=True, eq=False)
class KeptRows:
    """The rows of one matcher, and what opens the pair of one of them."""

    rows: Sequence[KeptRow]
    open: Callable[[KeptRow], Opened]


def kept_rows(record: str, name: str, real: str | None = None, folder: Path | None = None) -> KeptRows:
    """The rows of a matcher by name in one of RECORDS. real: the folder of real pairs, else as `evaluate` finds it.

    Raises ParameterError where there are none, or no folder.
    """
    rows = [row for row in _all_rows(record, folder) if row.matcher == matcher_key(name)]
    if not rows:
        raise ParameterError(f"results/{record}{ROWS}.csv has no rows of {name}.")
    made, place = record == "evaluate", real_folder(real)
    if not made and place is None:
        raise ParameterError("Real pairs need their folder: name it, or set MICROLOFTR_PAIRS.")
    split = read_result(record, folder).get("split", "validation")

    def open_row(row: KeptRow) -> Opened:
        protocol = _protocol(row.group if made else f"real:{place}", split)
        return opened(protocol[row.number], get_matcher(name), protocol)

    return KeptRows(rows, open_row)


def opened(pair: Pair, matcher: Any, protocol: PairSource) -> Opened:
    """The pair with what the matcher makes of it now."""
    matches = matcher.match(pair.image_0, pair.image_1).top(MATCH_CAP)
    found, _ = transform_by(protocol.estimators[0], matches.points_0, matches.points_1)
    way = Way(matches.points_0, matches.points_1, found, transform_error(found, pair, protocol.error))
    truth = pair.homography if pair.planar else None
    images, error = (pair.image_0, pair.image_1), ERRORS[protocol.error]
    return Opened(pair.id, pair.group, pair.modality or "", *images, truth, {"final": way}, error=error)


def explore_rows(real: str | None = None, folder: Path | None = None):
    """The widget: any matcher's row of the tables of `evaluate`, its worst, median or best pair by a click.

    Real pairs are offered where their folder is known.
    """
    tables: dict[str, Callable[[], KeptRows]] = {}
    for record in RECORDS if real_folder(real) else RECORDS[:1]:
        for key, told in read_result(record, folder)["values"]["matchers"].items():
            if any(row.matcher == key for row in _all_rows(record, folder)):
                words = f"{'made' if record == 'evaluate' else 'real'} pairs, {told['name']}"
                tables[words] = lambda record=record, name=told["name"]: kept_rows(record, name, real, folder)
    return explore_tables(tables)


def _all_rows(record: str, folder: Path | None) -> tuple[KeptRow, ...]:
    return read_kept((folder or results_folder()) / f"{record}{ROWS}.csv")


@cache
def _protocol(name: str, split: str) -> PairSource:
    return get_protocol(name, split, store=pairs_folder() if name in LEVEL_NAMES else None)
