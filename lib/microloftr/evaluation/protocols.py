"""Where pairs with known truth come from, by name; each is a sequence of `Pair`.

A level of made pairs, whole micrographs, a folder with `pairs.json`, a folder of HPatches, or images with landmarks.
Every protocol says the `name` of its files, its `split`, the `record` that its scores go to, what `error` its
transforms are judged by (the corners of image_0, or the overlap), by which `estimators` transforms are found, and
whether its pairs are `made`.
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from microloftr.errors import ParameterError
from microloftr.evaluation.folder_pairs import FolderPairs, read_landmarks
from microloftr.evaluation.hpatches import HPatchesPairs
from microloftr.evaluation.landmark_pairs import LandmarkPairs
from microloftr.evaluation.pair import Pair
from microloftr.evaluation.stored import made_pairs
from microloftr.evaluation.whole_pairs import WholePairs

__all__ = ["LEVEL_NAMES", "FolderPairs", "HPatchesPairs", "LandmarkPairs", "MadePairs", "Pair", "WholePairs",
           "fingerprint", "get_protocol", "read_landmarks", "real_folder"]  # fmt: skip

LEVEL_NAMES = ("easy", "medium", "hard", "extreme")
PAIRS_VARIABLE = "MICROLOFTR_PAIRS"


class MadePairs:
    """The fixed made pairs of one level and split (`microloftr.data.fixed.fixed_pairs`): the truth is exact."""

    made = True
    record = "evaluate"
    error = "corners"
    estimators = ("magsac",)

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


PairSource = MadePairs | FolderPairs | HPatchesPairs | LandmarkPairs | WholePairs
KINDS: dict[str, Callable[[str, str, int | None], PairSource]] = {  # KIND:PLACE, from place, split and limit
    "hpatches": lambda place, split, limit: HPatchesPairs(place, limit),
    "landmarks": lambda place, split, limit: LandmarkPairs(place, limit),
    "real": lambda place, split, limit: FolderPairs(place, limit),
    "whole": lambda place, split, limit: WholePairs(split, limit, place or "bundled"),
}


def get_protocol(
    name: str | os.PathLike, split: str = "validation", limit: int | None = None, store: Path | None = None
) -> PairSource:
    """A protocol by name, of at most `limit` pairs, spread over all of its own.

    A level (of a split); the path of a folder with pairs.json; `hpatches:FOLDER`; `landmarks:FOLDER` or a table;
    `whole` (the bundled micrographs of a split) or `whole:FOLDER`. `store`: a folder where made pairs are kept.
    """
    if limit is not None and limit < 1:
        raise ParameterError(f"The limit of pairs must be 1 or more, got {limit}.")
    if str(name) in LEVEL_NAMES:
        return MadePairs(str(name), split, limit, store)
    kind, colon, place = str(name).partition(":")
    if kind in KINDS and (place or (kind == "whole" and not colon)):
        return KINDS[kind](place, split, limit)
    if Path(name).exists():
        return FolderPairs(name, limit)
    raise ParameterError(
        f"{name} is neither a level ({', '.join(LEVEL_NAMES)}) nor a folder of pairs; others are named "
        f"{', '.join(f'{kind}:PLACE' for kind in KINDS)}."
    )


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
