"""The rows behind a table of stages as CSV: all that was scored, and a short table that is small enough to be kept.

The short one (results/stages_pairs.csv) has what a pair is chosen and opened by; the pair itself is made anew.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from microloftr.evaluation.score_rows import read_lines, write_lines
from microloftr.evaluation.stage_scores import StageScore


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
    write_lines(path, rows, [one.name for one in fields(StageScore)], 6)


def write_short(path: Path, rows: Sequence[StageScore]) -> None:
    """The same with the fields of `ShortRow` alone, to four digits."""
    write_lines(path, rows, [one.name for one in fields(ShortRow)], 4)


def read_rows(path: str | Path) -> tuple[StageScore, ...]:
    """The rows of `write_rows`. Raises ParameterError where the file is missing or another table."""
    return read_lines(path, StageScore, "table of stages")


def read_short(path: str | Path) -> tuple[ShortRow, ...]:
    """The rows of `write_short`, likewise."""
    return read_lines(path, ShortRow, "table of stages")
