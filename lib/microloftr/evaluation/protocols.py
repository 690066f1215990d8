"""Where pairs with known truth come from: the made levels, or a folder of real pairs. Both are sequences of `Pair`.

A folder of pairs holds `pairs.json`, a list of objects with id, image_0, image_1 (files, relative to the folder) and
homography (3×3, points of image_0 to image_1, pixel centres at integers). Optional: group, source (what pairs of one
specimen share; intervals are drawn by it), accuracy_px (how good the truth is), landmarks (a CSV x0,y0,x1,y1), overlap,
modality.
"""

import csv
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from microloftr.errors import ParameterError
from microloftr.evaluation.stored import made_pairs
from microloftr.images import read_image

LEVEL_NAMES = ("easy", "medium", "hard", "extreme")
PAIRS_VARIABLE = "MICROLOFTR_PAIRS"


@dataclass(frozen=True, eq=False)
class Pair:
    """Two images and what relates them.

    image_0, image_1: (H, W) uint8, or float32 in 0..1; homography (3, 3) float64, points of image_0 to image_1;
    size_0, size_1: (width, height); accuracy_px: how good the truth is, 0 where it is exact, None where nobody knows;
    overlap: share of image_0 that image_1 shows; landmarks (K, 4) of x_0, y_0, x_1, y_1.
    """

    id: str
    group: str
    source: str
    image_0: np.ndarray = field(repr=False)
    image_1: np.ndarray = field(repr=False)
    homography: np.ndarray = field(repr=False)
    accuracy_px: float | None
    size_0: tuple[int, int]
    size_1: tuple[int, int]
    modality: str | None = None
    overlap: float | None = None
    landmarks: np.ndarray | None = field(default=None, repr=False)


class MadePairs:
    """The fixed made pairs of one level and split (`microloftr.data.fixed.fixed_pairs`): the truth is exact."""

    made = True

    def __init__(
        self, level: str, split: str = "validation", limit: int | None = None, store: Path | None = None
    ) -> None:
        if level not in LEVEL_NAMES:
            raise ParameterError(f"There is no level {level!r}; there are {', '.join(LEVEL_NAMES)}.")
        self.name, self.split, self.limit, self.store = level, split, limit, store

    @cached_property
    def _pairs(self) -> Any:
        return made_pairs(self.name, self.split, self.limit, self.store)

    def __len__(self) -> int:
        return len(self._pairs.images_0)

    def __getitem__(self, number: int) -> Pair:
        if not -len(self) <= number < len(self):
            raise IndexError(number)
        number %= len(self)
        pairs = self._pairs
        images = pairs.images_0[number], pairs.images_1[number]
        return Pair(
            f"{self.name}/{number:04d}-{pairs.micrograph[number]}",
            self.name,
            pairs.specimen[number],
            *images,
            np.asarray(pairs.homography[number], np.float64),
            0.0,
            *(image.shape[::-1] for image in images),
            pairs.modality[number],
            float(pairs.overlap[number]),
        )

    def __iter__(self) -> Iterator[Pair]:
        return (self[number] for number in range(len(self)))


class FolderPairs:
    """The pairs of a folder with `pairs.json`, each image read when its pair is asked for.

    Raises ParameterError where the folder, its list or a file that it names is missing or malformed.
    """

    made = False
    split = "real"

    def __init__(self, folder: str | os.PathLike, limit: int | None = None) -> None:
        path = Path(folder)
        self.folder, listing = (path.parent, path) if path.suffix == ".json" else (path, path / "pairs.json")
        self.name = "real"
        try:
            self._rows = json.loads(listing.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ParameterError(f"There is no {listing}; a folder of pairs needs one.") from None
        except (OSError, ValueError) as error:
            raise ParameterError(f"{listing} is not a list of pairs in JSON: {error}.") from error
        if not isinstance(self._rows, list) or not self._rows:
            raise ParameterError(f"{listing} holds no list of pairs.")
        for number, row in enumerate(self._rows):
            self._check(listing, number, row)
        identifiers = [row["id"] for row in self._rows]
        if twice := {name for name in identifiers if identifiers.count(name) > 1}:
            raise ParameterError(f"{listing} has more than one pair {sorted(twice)[0]}; every id must be its own.")
        if limit is not None and limit < len(self._rows):
            self._rows = [self._rows[k] for k in np.linspace(0, len(self._rows) - 1, limit).round().astype(int)]

    def _check(self, listing: Path, number: int, row: Any) -> None:
        known = row if isinstance(row, dict) else {}
        missing = [key for key in ("id", "image_0", "image_1", "homography") if key not in known]
        if missing:
            raise ParameterError(f"Pair {number} of {listing} lacks {', '.join(missing)}.")
        try:
            matrix = np.array(row["homography"], np.float64)
        except (TypeError, ValueError):
            matrix = np.zeros(0)
        if matrix.shape != (3, 3) or not np.isfinite(matrix).all() or abs(np.linalg.det(matrix)) < 1e-12:
            raise ParameterError(f"The homography of pair {row['id']} is not 3×3 numbers that can be inverted.")
        for key in ("image_0", "image_1", "landmarks"):
            if row.get(key) and not (self.folder / row[key]).is_file():
                raise ParameterError(f"There is no file {self.folder / row[key]}, the {key} of pair {row['id']}.")

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, number: int) -> Pair:
        row = self._rows[number]
        images = [read_image(self.folder / row[key]).pixels for key in ("image_0", "image_1")]
        sizes = [image.shape[::-1] for image in images]
        for key, size in zip(("size_0", "size_1"), sizes, strict=True):
            if row.get(key) and tuple(row[key]) != size:
                raise ParameterError(f"{key} of pair {row['id']} is {row[key]}, but its image is {list(size)}.")
        group = row.get("group") or "all"
        accuracy, overlap = row.get("accuracy_px"), row.get("overlap")
        return Pair(
            row["id"],
            group,
            row.get("source") or row["id"],
            *images,
            np.array(row["homography"], np.float64),
            None if accuracy is None else float(accuracy),
            *sizes,
            row.get("modality"),
            None if overlap is None else float(overlap),
            read_landmarks(self.folder / row["landmarks"]) if row.get("landmarks") else None,
        )

    def __iter__(self) -> Iterator[Pair]:
        return (self[number] for number in range(len(self)))


PairSource = MadePairs | FolderPairs


def get_protocol(
    name: str | os.PathLike, split: str = "validation", limit: int | None = None, store: Path | None = None
) -> PairSource:
    """A level's name (with a split), or the path of a folder of pairs; at most `limit` of its pairs, spread over it.

    `store`: a folder where made pairs are kept.
    """
    if limit is not None and limit < 1:
        raise ParameterError(f"The limit of pairs must be 1 or more, got {limit}.")
    if str(name) in LEVEL_NAMES:
        return MadePairs(str(name), split, limit, store)
    if Path(name).exists():
        return FolderPairs(name, limit)
    raise ParameterError(f"{name} is neither a level ({', '.join(LEVEL_NAMES)}) nor a folder of pairs.")


def real_folder(given: str | None = None) -> str | None:
    """The folder of real pairs: as given, else what the environment variable MICROLOFTR_PAIRS names, else None."""
    return given or os.environ.get(PAIRS_VARIABLE) or None


def fingerprint(protocol: PairSource) -> str:
    """SHA-256 over images, truth and names of all pairs: predictions belong to these pairs and no others."""
    digest = hashlib.sha256()
    for pair in protocol:
        small = replace(pair, image_0=None, image_1=None, homography=None, landmarks=None)
        digest.update(repr(small).encode())
        for array in (pair.image_0, pair.image_1, pair.homography, pair.landmarks):
            digest.update(b"-" if array is None else repr((array.shape, array.dtype)).encode() + array.tobytes())
    return digest.hexdigest()


def read_landmarks(path: Path) -> np.ndarray:
    """Landmarks (K, 4) of a CSV with the header x0,y0,x1,y1."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            header, *rows = list(csv.reader(file))
        values = np.array(rows, np.float64)[:, [header.index(name) for name in ("x0", "y0", "x1", "y1")]]
    except (OSError, ValueError, IndexError, csv.Error) as error:
        raise ParameterError(f"{path} is no table of landmarks with the columns x0, y0, x1, y1.") from error
    if not np.isfinite(values).all():
        raise ParameterError(f"{path} has landmarks that are no numbers.")
    return values
