"""The pairs that `evaluate` looks at: by name, so many, drawn by a seed, each made when it is asked for."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from microloftr.data.fixed import split_atlas
from microloftr.data.pairs import make_pairs
from microloftr.errors import ParameterError
from microloftr.evaluation.ablation_judges import quarter_turns
from microloftr.evaluation.predict import pairs_folder
from microloftr.evaluation.protocols import LEVEL_NAMES, MadePairs, Pair, get_protocol
from microloftr.search import unturn

MADE, FIXED = "levels", "fixed"  # pairs of all four levels: drawn by the seed, or some of the fixed ones
SMALLEST = 64  # px of a crop


class PairsOfSeed:
    """Pairs of one level of the micrographs of a split, keyed by seed and number: S×S crops, rounded to 8 bit.

    Each is made alone, so that it does not depend on which others are looked at.
    """

    def __init__(self, level: str, split: str, seed: int, size: int) -> None:
        self.level, self.seed, self.size, self.atlas = level, seed, size, split_atlas(split)

    def __getitem__(self, number: int) -> Pair:
        batch = make_pairs(self.atlas, self.level, self.seed, np.array([number]), self.size)
        images = ((images[0, 0] * 255).round().byte().numpy() for images in (batch.images_0, batch.images_1))
        which = int(batch.micrograph[0])
        return Pair(
            f"{self.level}/{self.seed}-{number:04d}-{self.atlas.names[which]}",
            self.level,
            self.atlas.specimens[which],
            *images,
            batch.homography[0].numpy(),
            0.0,
            (self.size, self.size),
            (self.size, self.size),
            self.atlas.modalities[which],
            float(batch.overlap[0]),
        )


@dataclass(frozen=True, eq=False)
class Drawn:
    """Pairs by number; `error`: what a transform is judged by, corners or overlap."""

    name: str
    error: str
    members: tuple[tuple[Any, int], ...]  # where each is from, and its number there

    def __len__(self) -> int:
        return len(self.members)

    def __getitem__(self, number: int) -> Pair:
        source, index = self.members[number]
        return source[index]


def drawn_pairs(
    dataset: str | Sequence[Pair], n_samples: int | None, seed: int, split: str = "validation", size: int = 320
) -> Drawn:
    """`n_samples` pairs of a dataset, drawn by `seed`; None for all there are.

    dataset: one of the levels, or `levels` for all four, with n_samples pairs of each, drawn from the micrographs of
    `split` as crops of `size` px; `fixed`: as many of the fixed pairs of each level; what `get_protocol` takes (a
    folder with pairs.json, hpatches:FOLDER, whole …); or any sequence of `Pair`.
    Raises ParameterError for a number or dataset that cannot be.
    """
    if n_samples is not None and n_samples < 1:
        raise ParameterError(f"There must be 1 or more samples, not {n_samples}.")
    if dataset in (MADE, FIXED) or dataset in LEVEL_NAMES:
        levels = LEVEL_NAMES if dataset in (MADE, FIXED) else (dataset,)
        if dataset != FIXED and (n_samples is None or size < SMALLEST):
            raise ParameterError(f"Made pairs need a number of samples, and crops of {SMALLEST} px or more.")
        count = len(split_atlas(split))
        members = []
        for level in levels:
            if dataset == FIXED:
                source: Any = MadePairs(level, split, store=pairs_folder())
                numbers = each_before_any_again(count, len(source), seed)[:n_samples]
            else:
                source, numbers = PairsOfSeed(level, split, seed, size), each_before_any_again(count, n_samples, seed)
            members += [(source, number) for number in numbers]
        return Drawn(str(dataset), "corners", tuple(members))
    pairs = get_protocol(dataset, split) if isinstance(dataset, str) else dataset
    if len(pairs) == 0:
        raise ParameterError("The dataset has no pairs.")
    numbers = sorted(np.random.default_rng(seed).permutation(len(pairs))[:n_samples].tolist())
    name = getattr(pairs, "name", type(pairs).__name__)
    return Drawn(name, getattr(pairs, "error", "corners"), tuple((pairs, number) for number in numbers))


def each_before_any_again(kinds: int, count: int, seed: int) -> list[int]:
    """`count` numbers of pairs whose micrograph is the number modulo `kinds`: each micrograph before any again."""
    generator = np.random.default_rng(seed)
    rounds = [first + generator.permutation(kinds) for first in range(0, count, kinds)]
    return np.concatenate(rounds)[:count].tolist()


def turned_pair(pair: Pair) -> tuple[Pair, int]:
    """The pair with image_1 turned by the quarters that leave at most 45° of its rotation, and how many: 0 to 3.

    Photographs with cameras stay as they are.
    """
    if pair.cameras is not None:
        return pair, 0
    turns = quarter_turns(pair.homography, pair.size_0)
    if turns == 0:
        return pair, 0
    image_1 = np.ascontiguousarray(np.rot90(pair.image_1, turns))
    homography = np.linalg.inv(unturn(turns, pair.image_1.shape[:2])) @ pair.homography
    return replace(pair, image_1=image_1, homography=homography, size_1=image_1.shape[1::-1], landmarks=None), turns
