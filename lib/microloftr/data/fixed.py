"""The fixed pairs of the four levels, for choosing (validation) and reporting (test): the same for everybody.

They are made on the CPU from the bundled micrographs, in batches of fixed size, and rounded to 8 bit.
tests/test_fixed_pairs.py holds a hash of what they are made from and a thumbnail of each.
"""

import hashlib
from dataclasses import dataclass, fields
from functools import cache

import numpy as np

from microloftr.data.atlas import Atlas, build_atlas
from microloftr.data.levels import LEVELS
from microloftr.data.micrographs import load_micrographs
from microloftr.data.pairs import draw_parameters, render
from microloftr.errors import ParameterError

SIZE = 320
PER_MICROGRAPH = 4
BATCH = 12
SEEDS = {"validation": 101, "test": 202, "train": 303}


@dataclass(frozen=True, eq=False)
class FixedPairs:
    """N pairs: images_0, images_1 (N, 320, 320) uint8; homography (N, 3, 3) float64; overlap (N,)."""

    level: str
    split: str
    images_0: np.ndarray
    images_1: np.ndarray
    homography: np.ndarray
    overlap: np.ndarray
    micrograph: tuple[str, ...]
    specimen: tuple[str, ...]
    modality: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.images_0)


def fixed_pairs(level: str, split: str = "validation", limit: int | None = None) -> FixedPairs:
    """The fixed pairs of one level: four of every micrograph of the split, each once before any comes again.

    `limit` stops after so many. Raises ParameterError for an unknown level or split.
    """
    _check(level, split)
    atlas = split_atlas(split)
    count = len(atlas) * PER_MICROGRAPH if limit is None else min(limit, len(atlas) * PER_MICROGRAPH)
    images: list[list[np.ndarray]] = [[], []]
    for first in range(0, count, BATCH):  # whole batches always: the noise is keyed by them
        indices = np.arange(first, min(first + BATCH, len(atlas) * PER_MICROGRAPH))
        batch = render(atlas, draw_parameters(atlas, level, SEEDS[split], indices, SIZE), SEEDS[split], indices, SIZE)
        for made, crops in zip(images, (batch.images_0, batch.images_1), strict=True):
            made.append((crops[:, 0] * 255).round().byte().numpy())
    parameters = draw_parameters(atlas, level, SEEDS[split], np.arange(count), SIZE)  # (cheap beside the images)
    images_0, images_1 = (np.concatenate(made)[:count] for made in images)
    names = ([table[m] for m in parameters.micrograph] for table in (atlas.names, atlas.specimens, atlas.modalities))
    return FixedPairs(level, split, images_0, images_1, parameters.homography, parameters.overlap, *map(tuple, names))


def fingerprint(level: str, split: str = "validation") -> str:
    """SHA-256 of what the pairs are made from: the micrographs' names and every drawn number to 1e-6.

    The noise is left out: it is measured on the pixels, which decoders may round differently.
    """
    _check(level, split)
    atlas = split_atlas(split)
    parameters = draw_parameters(atlas, level, SEEDS[split], np.arange(len(atlas) * PER_MICROGRAPH), SIZE)
    digest = hashlib.sha256("\n".join(atlas.names).encode())
    for field in fields(parameters):
        if field.name in ("noise", "changes"):  # (fixed pairs have no changes)
            continue
        values = np.asarray(getattr(parameters, field.name), dtype=float)
        digest.update(np.round(np.nan_to_num(values, posinf=1e6) * 1e6).astype(np.int64).tobytes())
    return digest.hexdigest()


@cache
def split_atlas(split: str) -> Atlas:
    """The bundled micrographs of a split as an atlas on the CPU, built once."""
    return build_atlas(load_micrographs(split))


def _check(level: str, split: str) -> None:
    if level not in LEVELS:
        raise ParameterError(f"there is no level {level!r}; there are {', '.join(LEVELS)}")
    if split not in SEEDS:
        raise ParameterError(f"there are no fixed pairs of the split {split!r}; there are {', '.join(SEEDS)}")
