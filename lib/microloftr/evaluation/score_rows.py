"""The rows behind the tables of `evaluate` in short, kept beside their records: a line per matcher and pair."""

import csv
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from microloftr.errors import ParameterError
from microloftr.evaluation.matchers import matcher_key
from microloftr.evaluation.summary import PairScore
from microloftr.files import atomic_write

ROWS = "_pairs"  # behind the name of a record


@dataclass(frozen=True)
class KeptRow:
    """What a matcher (by key) reached on one pair, the `number`-th of its level or of its folder."""

    matcher: str
    group: str
    modality: str
    number: int
    matches: int
    error_px: float
    precision_3: float = math.nan
    stage: str = "final"

    @property
    def id(self) -> str:
        return f"{self.matcher}/{self.group}/{self.number}"


COLUMNS = [one.name for one in fields(KeptRow) if one.name != "stage"]


def kept(scores: Sequence[PairScore]) -> list[KeptRow]:
    """The final rows of one protocol's scores, in the order of its pairs."""
    numbers: dict[str, int] = {}
    rows = []
    for one in scores:
        if one.stage == "final":
            key = matcher_key(one.matcher)
            numbers[key] = number = numbers.get(key, -1) + 1
            rows.append(KeptRow(key, one.group, one.modality, number, one.matches, one.error_px, one.precision_3))
    return rows


def write_kept(path: Path, rows: Sequence[KeptRow]) -> None:
    """A CSV of rows, to four digits."""
    write_lines(path, rows, COLUMNS, 4)


def read_kept(path: Path) -> tuple[KeptRow, ...]:
    """The rows of `write_kept`. Raises ParameterError where the file is missing or another table."""
    return read_lines(path, KeptRow, "rows of an evaluation")


def write_lines(path: Path, rows: Sequence[Any], names: Sequence[str], digits: int) -> None:
    """A CSV with one line per row, a dataclass, of its fields `names`; floats to so many digits."""
    with atomic_write(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n", extrasaction="ignore")
        writer.writeheader()
        for row in map(asdict, rows):
            writer.writerow({key: f"{v:.{digits}g}" if isinstance(v, float) else v for key, v in row.items()})


def read_lines(path: str | Path, kind: type, what: str) -> tuple[Any, ...]:
    """The lines of `write_lines` as a `kind` of row. Raises ParameterError that says `what` the file does not hold."""
    kinds = {one.name: one.type for one in fields(kind)}
    try:
        with open(path, newline="", encoding="utf-8") as file:
            lines = list(csv.DictReader(file))
        return tuple(kind(**{name: kinds[name](text) for name, text in line.items()}) for line in lines)
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ParameterError(f"{path} holds no {what}: {error}.") from None
