"""The file of predictions (`.npz`, no pickles): written whole, read back with a check.

It holds points_0, points_1 (M, 2), confidence (M,), the points before refinement where the matcher tells them, offsets
(N + 1,) of the N pairs, their ids, seconds (N,) and a header in JSON.
"""

import json
import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from microloftr.errors import ParameterError
from microloftr.files import atomic_write

POINTS = ("points_0", "points_1", "coarse_points_0", "coarse_points_1")


@dataclass(frozen=True, eq=False)
class Predictions:
    """What one file holds; pair k owns the rows offsets[k] to offsets[k + 1] of the points."""

    header: dict[str, Any]
    ids: list[str]
    offsets: np.ndarray
    seconds: np.ndarray
    confidence: np.ndarray
    points_0: np.ndarray
    points_1: np.ndarray
    coarse_points_0: np.ndarray | None = None
    coarse_points_1: np.ndarray | None = None

    def points(self, number: int, coarse: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """points_0, points_1 (M, 2) float64 of one pair, after refinement or before it."""
        rows = slice(self.offsets[number], self.offsets[number + 1])
        pair = (self.coarse_points_0, self.coarse_points_1) if coarse else (self.points_0, self.points_1)
        return pair[0][rows].astype(np.float64), pair[1][rows].astype(np.float64)

    def confidences(self, number: int) -> np.ndarray:
        """confidence (M,) float64 of one pair."""
        return self.confidence[self.offsets[number] : self.offsets[number + 1]].astype(np.float64)


def write_predictions(
    path: Path, header: dict[str, Any], ids: Sequence[str], seconds: Sequence[float], parts: Sequence[Any]
) -> None:
    """Write the `Matches` of all pairs. Raises ParameterError where only some of them tell their coarse points."""
    has_coarse = any(part.coarse_points_1 is not None for part in parts)
    arrays = {name: [] for name in (POINTS if has_coarse else POINTS[:2])}
    for pair_id, part in zip(ids, parts, strict=True):
        if has_coarse and len(part) and part.coarse_points_1 is None:
            raise ParameterError(f"The matcher gives coarse points for some pairs, but not for pair {pair_id}.")
        values = {"points_0": part.points_0, "points_1": part.points_1}
        values["coarse_points_1"] = part.points_1 if part.coarse_points_1 is None else part.coarse_points_1
        values["coarse_points_0"] = part.points_0 if part.coarse_points_0 is None else part.coarse_points_0
        for name, rows in arrays.items():
            rows.append(values[name])
    joined = {name: np.concatenate(rows).astype(np.float32) for name, rows in arrays.items()}
    confidence = np.concatenate([part.confidence for part in parts]).astype(np.float32)
    offsets = np.cumsum([0, *(len(part) for part in parts)])
    save_predictions(path, Predictions(header, list(ids), offsets, np.array(seconds), confidence, **joined))


def save_predictions(path: Path, predictions: Predictions) -> None:
    """Write a file of predictions, atomically."""
    arrays = {field.name: getattr(predictions, field.name) for field in fields(Predictions)}
    header, ids = json.dumps(arrays.pop("header")), np.array(arrays.pop("ids"), dtype=np.str_)
    arrays = {name: values for name, values in arrays.items() if values is not None}
    with atomic_write(path) as temporary:
        np.savez(temporary, header=np.array(header), ids=ids, **arrays)


def load_predictions(path: str | os.PathLike) -> Predictions:
    """Read a file of predictions. Raises ParameterError where it is missing, damaged or of another format."""
    try:
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        header = json.loads(str(arrays.pop("header")))
        if header["format"] != 1:
            raise ValueError(f"format {header['format']}")
        return Predictions(header, arrays.pop("ids").tolist(), **arrays)
    except FileNotFoundError:
        raise ParameterError(f"There are no predictions {path}; run `python -m microloftr predict` first.") from None
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise ParameterError(f"{path} is no file of predictions: {error}.") from error
