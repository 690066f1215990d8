"""What the Matcher makes of a pair to play with, by which of its steps, and what breaks it.

Notebook 12 shows it; `playground_figures` draws it.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from microloftr.errors import ParameterError
from microloftr.matches import Matches
from microloftr.matching import Matcher
from microloftr.registration.transform import Transform, estimate_transform
from microloftr.views.playground_pairs import Pair, Scene, Source

RIGHT, FAILED = 3.0, 10.0  # px: a right transform is nearer to the truth, a failure of the tables farther from it
STEPS = {
    "the network alone": {"search": False},
    "+ quarter turns": {"align": False},
    "+ following pixels": {"direct": False},
    "+ all pixels at once": {},
}
NETWORK, *_, ALL_STEPS = STEPS


@dataclass(frozen=True)
class Rules:
    """How it is matched: the steps of the Matcher that are taken (a key of STEPS), the least confidence of a match,
    and the pixels of image_1 by which a match may be off the transform and still count."""

    steps: str = ALL_STEPS
    confidence: float = 0.0
    tolerance: float = 2.0

    def __post_init__(self) -> None:
        if self.steps not in STEPS:
            raise ParameterError(f"there are no steps {self.steps!r}; there are {', '.join(STEPS)}")
        if not 0 <= self.confidence < 1 or not 0 < self.tolerance <= 20:
            raise ParameterError("the confidence must be at least 0 and below 1, the tolerance above 0 and at most 20")


@dataclass(frozen=True, eq=False)
class Found:
    """What was made of a pair. error: mean distance of image_0's corners from the truth in px of image_1, infinite
    without a transform, None where nobody knows; right (M,): which matches lie within RIGHT px of the truth, or None.
    """

    matches: Matches
    transform: Transform | None
    error: float | None
    right: np.ndarray | None


def find(pair: Pair, rules: Rules) -> Found:
    """Match a pair and estimate its transform by the rules."""
    return judge(pair, matcher_of(rules.steps).match(pair.image_0, pair.image_1), rules)


def judge(pair: Pair, matches: Matches, rules: Rules) -> Found:
    """What the rules make of matches that are there already."""
    matches = matches.above(rules.confidence)
    transform = estimate_transform(matches, "auto", rules.tolerance)
    if pair.true is None:
        return Found(matches, transform, None, None)
    off = np.linalg.norm(pair.true.apply(matches.points_0) - matches.points_1, axis=1)
    return Found(matches, transform, error_of(pair.true, transform), off < RIGHT)


def error_of(true: Transform, found: Transform | None) -> float:
    """Mean distance of the four corners of image_0, moved by both, in px of image_1; infinity for no transform."""
    if found is None:
        return math.inf
    x, y = (side - 1 for side in true.size_0)
    corners = np.array([[0, 0], [x, 0], [x, y], [0, y]])
    error = np.linalg.norm(found.apply(corners) - true.apply(corners), axis=1).mean()
    return float(error) if np.isfinite(error) else math.inf


@cache
def matcher_of(steps: str) -> Matcher:
    """The shipped Matcher with these of its steps, on the CPU."""
    return Matcher.from_pretrained("micro", device="cpu", **STEPS[steps])


def scan(source: Source, scene: Scene, rules: Rules, name: str, values: Iterable[float]) -> list[float]:
    """The error against the truth as one field of the scene takes each value and nothing else changes."""
    return [_error(source, replace(scene, **{name: value}), rules) for value in values]


def _error(source: Source, scene: Scene, rules: Rules) -> float:
    error = find(source.make(scene), rules).error
    if error is None:
        raise ParameterError("errors can be scanned only where the truth is known: give one image, or none")
    return error


def told(values: Sequence[float], errors: Sequence[float]) -> str:
    """In words, at which values the transform is right, at which it is off, and at which there is none."""
    groups = {"right at": lambda e: e < RIGHT, "off at": lambda e: RIGHT <= e < math.inf, "no transform at": math.isinf}
    parts = []
    for words, belongs in groups.items():
        named = [plain(value) for value, error in zip(values, errors, strict=True) if belongs(error)]
        parts += [f"{words} {', '.join(named)}"] if named else []
    return "; ".join(parts)


def plain(value: float) -> str:
    """A number as people write it."""
    return "∞" if math.isinf(value) else f"{value:g}".replace("-", "−")
