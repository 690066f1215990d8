"""Pairs of crops that show nothing in common: what a matcher must say nothing about."""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from microloftr.evaluation.protocols import LEVEL_NAMES, Pair
from microloftr.evaluation.stored import made_pairs, taken


class UnrelatedPairs:
    """Pairs that show nothing in common: one crop of each micrograph of a split beside one of another specimen.

    There are as many as micrographs times levels. The first levels put specimens of one modality together where there
    are several, which is hardest to tell. Their `homography` is NaN: there is no truth to find.
    """

    made = True
    name = "unrelated"

    def __init__(self, split: str = "validation", limit: int | None = None, store: Path | None = None) -> None:
        self.split, self.limit, self.store = split, limit, store

    @cached_property
    def _levels(self) -> dict[str, Any]:
        return {level: one_of_each(made_pairs(level, self.split, None, self.store)) for level in LEVEL_NAMES}

    @cached_property
    def _partners(self) -> list[tuple[str, int, int]]:
        """(level, which crop is image_0, which image_1) of each pair."""
        chosen = []
        for rank, (level, pairs) in enumerate(self._levels.items()):
            chosen += [(level, number, other) for number, other in enumerate(strangers(pairs, rank))]
        if self.limit is not None and self.limit < len(chosen):
            chosen = [chosen[k] for k in np.linspace(0, len(chosen) - 1, self.limit).round().astype(int)]
        return chosen

    def __len__(self) -> int:
        return len(self._partners)

    def __getitem__(self, number: int) -> Pair:
        level, first, second = self._partners[number]
        pairs = self._levels[level]
        images = pairs.images_0[first], pairs.images_1[second]
        names = (pairs.micrograph[first], pairs.micrograph[second])
        modalities = sorted({pairs.modality[first], pairs.modality[second]})
        return Pair(
            f"{self.name}/{level}-{'-'.join(names)}",
            level,
            pairs.specimen[first],
            *images,
            np.full((3, 3), np.nan),
            None,
            *(image.shape[::-1] for image in images),
            modalities[0] if len(modalities) == 1 else "two modalities",
            0.0,
        )

    def __iter__(self) -> Iterator[Pair]:
        return (self[number] for number in range(len(self)))


def one_of_each(pairs: Any) -> Any:
    """The first pair of each micrograph, in order."""
    first = {name: k for k, name in reversed(list(enumerate(pairs.micrograph)))}
    return taken(pairs, sorted(first.values()))


def strangers(pairs: Any, rank: int) -> list[int]:
    """For each pair the index of another one of another specimen, those of its own modality first; `rank`: which."""
    count, partners = len(pairs.micrograph), []
    for number in range(count):
        others = [(number + step) % count for step in range(1, count)]
        others = [k for k in others if pairs.specimen[k] != pairs.specimen[number]]
        others.sort(key=lambda k: pairs.modality[k] != pairs.modality[number])
        partners.append(others[rank % len(others)])
    return partners
