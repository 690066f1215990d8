"""The first transform that the pixels support, of those that the network proposes.

Thumbnails grow from round to round, and no round is begun that is not needed. A vote that stands out from those of the
other turns is evidence of its own: then the pixels need to support it less.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from microloftr.guided import NOISY, SHARP, Guided, guided_matches
from microloftr.options import MatcherOptions
from microloftr.search import LEAST_AGREEING, TURNS, Hypothesis, PointsOf, View, hypotheses

SURE = 24  # matches that agree: such a hypothesis is tried at once, before the next turn is looked at
CERTAIN = 0.15  # support, as the images are, that ends the search at once; a grid shifted by a mesh has had 0.08
ENOUGH = 0.2  # support in the noisy look, where every form is tried, that ends the search after this round
SUPPORTED = 0.06  # least support of a transform in the noisy look; unrelated images stay below 0.04
CLEAR = 2.5  # times as many agreeing matches as in any other turn speak for a transform
WEAK = 0.02  # least support of a transform that such a vote speaks for
MAGNIFIED = (1.0, 2.0, 0.5)  # of image_1, beside its long side; the network bears 0.6 to 1.6
MOST_MAGNIFIED = 4.0
SAME = 1.3  # magnifications that differ by less are one and the same to the network


@dataclass(frozen=True, eq=False)
class Proposal:
    """What the pixels support, and the view of both images it was found on; where they support nothing, the transform
    (3, 3) that most matches agree on (points of image_0 → image_1 as given) and whether their vote is clear."""

    guided: Guided | None
    view: View
    most: NDArray[np.float64] | None = None
    clear: bool = False


@dataclass(frozen=True)
class _Round:
    """Thumbnails of `side` pixels, image_1 in these turns and `magnified`; so many hypotheses are tried closely."""

    side: int
    turns: tuple[int, ...]
    tried: int
    magnified: float
    further: bool = False  # begun only where nothing was found


def proposed(
    large_0: NDArray, large_1: NDArray, options: MatcherOptions, points_of: PointsOf, known: float | None = None
) -> Proposal:
    """The best proposal for two images (H, W). points_of: two thumbnails → all matched points (M, 2) of both.

    known: how much larger image_1 shows things, beside its long side, where pixel sizes tell.
    """
    most, votes, clear_most = None, 0, False
    view, best, best_view = View.of(large_0, large_1, options.search_side), None, None
    side = 0
    for look in _rounds(large_0, large_1, options, known):
        if look.further and (best is not None or clear_most):
            break
        if side and not look.further and not _shows_more(large_0, large_1, look.side, side):
            continue
        side = look.side
        view, found = View.of(large_0, large_1, max(side, options.search_side)), []
        for hypothesis in hypotheses(view.pixels_0, view.pixels_1, side, points_of, look.turns, look.magnified):
            found.append(hypothesis)
            if hypothesis.agreeing >= SURE:
                guided = guided_matches(view.pixels_0, view.pixels_1, hypothesis.matrix, ("grey",), SHARP)
                if guided is not None and guided.support > CERTAIN:
                    return Proposal(guided, view)
        found.sort(key=lambda hypothesis: -hypothesis.agreeing)
        clear = len(look.turns) > 1 and _clear(found)
        for hypothesis in found[: 1 if clear else look.tried]:
            guided = guided_matches(view.pixels_0, view.pixels_1, hypothesis.matrix, look=NOISY)
            least = best.support if best else WEAK if clear else SUPPORTED
            if guided is not None and guided.support > least:
                best, best_view = guided, view
        if best is not None and best.support > ENOUGH:
            break
        if found and (clear, found[0].agreeing) > (clear_most, votes):
            most, votes, clear_most = view.in_large(found[0].matrix), found[0].agreeing, clear
    return Proposal(best, best_view or view, most, clear_most)


def _rounds(large_0: NDArray, large_1: NDArray, options: MatcherOptions, known: float | None) -> list[_Round]:
    """What is looked at, in order; `known` as in `proposed`.

    Further rounds: where the images differ in size, pixels that are equally large; then MAGNIFIED.
    """
    usual = _bearable(known or 1.0)
    rounds = [
        _Round(options.quick_side, TURNS, 1, usual),
        _Round(options.search_side, TURNS, 3, usual),
        _Round(options.narrow_side, TURNS[:1], 1, usual),
    ]
    seen = [usual]
    for other in (_bearable(max(large_0.shape) / max(large_1.shape)), *MAGNIFIED):
        if not any(_same(other, one) for one in seen):
            side = options.search_side if other in MAGNIFIED else options.narrow_side
            rounds.append(_Round(side, TURNS, 1, other, further=True))
            seen.append(other)
    return rounds


def _bearable(magnified: float) -> float:
    """The magnification as far as thumbnails still show something; 1 where it is hardly another."""
    bounded = min(max(magnified, 1 / MOST_MAGNIFIED), MOST_MAGNIFIED)
    return 1.0 if _same(bounded, 1.0) else bounded


def _same(one: float, other: float) -> bool:
    return 1 / SAME < one / other < SAME


def _clear(found: list[Hypothesis]) -> bool:
    """Whether the first of these, the most agreed on first, stands out from the other turns."""
    second = max(found[1].agreeing if len(found) > 1 else 0, LEAST_AGREEING)
    return bool(found) and found[0].agreeing >= max(CLEAR * second, SURE)


def _shows_more(large_0: NDArray, large_1: NDArray, side: int, before: int) -> bool:
    """Whether thumbnails of `side` pixels hold more than those of `before` pixels did."""
    return side > before and max(*large_0.shape, *large_1.shape) > before
