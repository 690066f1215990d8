"""The rows behind a table of stages as CSV: all that was scored, and a short table that is small enough to be kept.

The short one (results/stages_pairs.csv) has what a pair is chosen and opened by; the pair itself is made anew.
"""

import csv
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from microloftr.errors import ParameterError
from microloftr.evaluation.stage_scores import StageScore
from microloftr.files import atomic_write


@dataclass(frozen=True)
class ShortRow:
    """What one stage reached on one pair, in short; the fields are those of `StageScore`."""

    number: int
    stage: str
    group: str
    modality: str
    turns: int
    matches: int
    error_px: float
    precision_3: float = math.nan
    median_offset: float = math.nan
    recall: float = math.nan
    exact: float = math.nan

    @property
    def id(self) -> str:
        return f"{self.group}/{self.number}"


def write_rows(path: Path, rows: Sequence[StageScore]) -> None:
    """A CSV with one line per pair and stage."""
    _write(path, rows, [one.name for one in fields(StageScore)], 6)


def write_short(path: Path, rows: Sequence[StageScore]) -> None:
    """The same with the fields of `ShortRow` alone, to four digits."""
    _write(path, rows, [one.name for one in fields(ShortRow)], 4)


def read_rows(path: str | Path) -> tuple[StageScore, ...]:
    """The rows of `write_rows`. Raises ParameterError where the file is missing or another table."""
    return _read(path, StageScore)


def read_short(path: str | Path) -> tuple[ShortRow, ...]:
    """The rows of `write_short`, likewise."""
    return _read(path, ShortRow)


def _write(path: Path, rows: Sequence[StageScore], names: Sequence[str], digits: int) -> None:
    with atomic_write(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n", extrasaction="ignore")
        writer.writeheader()
        for row in map(asdict, rows):
            writer.writerow({key: f"{v:.{digits}g}" if isinstance(v, float) else v for key, v in row.items()})


def _read(path: str | Path, kind: type) -> tuple[Any, ...]:
    kinds = {one.name: one.type for one in fields(kind)}
    try:
        with open(path, newline="", encoding="utf-8") as file:
            lines = list(csv.DictReader(file))
        return tuple(kind(**{name: kinds[name](text) for name, text in line.items()}) for line in lines)
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ParameterError(f"{path} is no table of stages: {error}.") from None
