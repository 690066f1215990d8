"""What each part of matching is worth with given weights: parts are switched off, one at a time.

All switches look at the same pair one after the other and share what the network says of its thumbnails.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import cv2
import numpy as np

from microloftr import proposals, simplest
from microloftr.alignment import FORMS, form_of
from microloftr.evaluation.ablation_judges import Levels, error_by, error_of, over_pairs
from microloftr.evaluation.metrics import corner_error
from microloftr.evaluation.protocols import Pair
from microloftr.evaluation.score import THRESHOLD
from microloftr.guided import NOISY, SHARP, Guided, guided_matches, shown_by, warped_onto
from microloftr.images import as_image
from microloftr.matching import Matcher
from microloftr.model.loftr import LoFTR
from microloftr.model.trace import MatchedPoints
from microloftr.options import MatcherOptions
from microloftr.registration.families import find_homography
from microloftr.search import hypotheses

SURE_VOTE = 0.05
ECC_STEPS = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 50, 1e-5)
ECC_BLUR = 5  # pixels, odd: OpenCV's own default


@dataclass(frozen=True)
class Switch:
    """A way of matching in words, and the key of the one it is compared with; the same for its group."""

    words: str
    against: str


SWITCHES = {
    "whole": Switch("the Matcher as it is", "whole"),
    "unturned": Switch("no turns tried", "whole"),
    "sure-votes": Switch(f"only matches above {SURE_VOTE:g} vote", "whole"),
    "apart": Switch("pixels not aligned all at once", "whole"),
    "any-vote": Switch("no vote counts as clear", "whole"),
    "homography": Switch("always a homography, nothing simpler", "whole"),
    "one-size": Switch("no other magnification looked for", "whole"),
    "network-decides": Switch("the network alone decides", "whole"),
    "followed": Switch("pixels followed, one transform", "followed"),
    "grey": Switch("followed as grey values only", "followed"),
    "refined": Switch("the network's refined points", "followed"),
    "coarse": Switch("the network's coarse cells", "followed"),
    "ecc": Switch("the network's points, then ECC", "followed"),
}


class Remembering(Matcher):
    """A Matcher without calibration that looks at the same thumbnails once only; `votes`: the least confidence of a
    match of thumbnails that counts."""

    def __init__(self, model: LoFTR, seen: dict, votes: float = 0.0, direct: bool = True) -> None:
        super().__init__(model, MatcherOptions(direct=direct), device="cpu")
        self.seen, self.votes = seen, votes

    def _all_points(self, thumb_0: np.ndarray, thumb_1: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        key = (thumb_0.shape, thumb_0.tobytes(), thumb_1.shape, thumb_1.tobytes())
        if key not in self.seen:
            self.seen[key] = self._points(thumb_0, thumb_1, threshold=0.0)
        points: MatchedPoints = self.seen[key]
        sure = points.confidence > self.votes
        return points.points_0[sure], points.points_1[sure]


@contextmanager
def proposing(module=proposals, **settings) -> Iterator[None]:
    """Within it, these settings of a module hold; of `microloftr.proposals`: TURNS, the quarter turns tried; CLEAR, how
    far a vote must stand out; MAGNIFIED, what else is looked for."""
    before = {name: getattr(module, name) for name in settings}
    try:
        for name, value in settings.items():
            setattr(module, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(module, name, value)


def errors_of(model: LoFTR, levels: Levels, turns: bool = True) -> dict[str, list[float]]:
    """Mean corner errors (px) of the whole Matcher by level; turns: whether it tries quarter turns."""
    matcher = Matcher(model, device="cpu")
    with nullcontext() if turns else proposing(TURNS=(0,)):
        return over_pairs(levels, lambda pair: error_of(matcher.match(pair.image_0, pair.image_1), pair), "Matcher")


def switched(model: LoFTR, levels: Levels) -> dict[str, dict[str, list[float]]]:
    """Mean corner errors (px) of every switch, by level."""
    rows = over_pairs(levels, _Switched(model), "switches")
    return {
        key: {level: [errors[key] for errors in row] for level, row in rows.items()}  # (one look at a pair gives all)
        for key in SWITCHES
    }


class _Switched:
    """All switches on one pair: call with it, get the errors by key."""

    def __init__(self, model: LoFTR) -> None:
        self.seen: dict = {}
        self.whole = Remembering(model, self.seen)
        self.sure = Remembering(model, self.seen, SURE_VOTE)
        self.apart = Remembering(model, self.seen, direct=False)

    def __call__(self, pair: Pair) -> dict[str, float]:
        self.seen.clear()

        def matched(matcher: Matcher) -> float:
            return error_of(matcher.match(pair.image_0, pair.image_1), pair)

        errors = {"whole": matched(self.whole), "sure-votes": matched(self.sure), "apart": matched(self.apart)}
        with proposing(CLEAR=float("inf")):
            errors["any-vote"] = matched(self.whole)
        with proposing(simplest, SURE=float("inf")):
            errors["homography"] = matched(self.whole)
        with proposing(MAGNIFIED=()):
            errors["one-size"] = matched(self.whole)
        with proposing(TURNS=(0,)):
            errors["unturned"] = matched(self.whole)
        errors |= from_one_transform(self.whole, pair)
        return errors | {"network-decides": errors["refined"]}  # what a Matcher with align=False says


def from_one_transform(matcher: Matcher, pair: Pair) -> dict[str, float]:
    """Errors of the ways to measure from one first transform, the one that most of the network's matches agree on.

    Where pixels support nothing, the network's refined points stand, as in the Matcher.
    """
    pixels_0, pixels_1 = (as_image(image).pixels for image in (pair.image_0, pair.image_1))
    proposed = hypotheses(pixels_0, pixels_1, matcher.options.search_side, matcher._all_points)
    most = max(proposed, key=lambda hypothesis: hypothesis.agreeing, default=None)
    if most is None:
        return dict.fromkeys(("coarse", "refined", "ecc", "grey", "followed"), float("inf"))
    network = matcher._second_look(pixels_0, pixels_1, most.matrix)
    guided = {
        "followed": followed(pixels_0, pixels_1, most.matrix),
        "grey": followed(pixels_0, pixels_1, most.matrix, ("grey",)),
    }
    points = {
        "coarse": (network.points_0, network.coarse_1),
        "refined": (network.points_0, network.points_1),
        **{
            key: (network.points_0, network.points_1) if found is None else (found.points_0, found.points_1)
            for key, found in guided.items()
        },
    }
    errors = {key: error_by(*both, pair) for key, both in points.items()}
    form = guided["followed"].form if guided["followed"] else "grey"
    first, _ = find_homography(*points["refined"], THRESHOLD)
    last = first if first is None else aligned_by_ecc(pixels_0, pixels_1, first, form)
    return errors | {"ecc": corner_error(last, pair.homography, pair.size_0)}


def followed(
    pixels_0: np.ndarray, pixels_1: np.ndarray, first: np.ndarray, forms: tuple[str, ...] = FORMS
) -> Guided | None:
    """Pixels followed from a first transform (3, 3), then more sharply, as the Matcher does; None without support."""
    found = guided_matches(pixels_0, pixels_1, first, forms, NOISY)
    if found is None or found.support <= proposals.SUPPORTED:
        return None
    sharper = guided_matches(pixels_0, pixels_1, found.homography, (found.form,), SHARP, near=True)
    return sharper if sharper is not None and sharper.support > found.support / 2 else found


def aligned_by_ecc(pixels_0: np.ndarray, pixels_1: np.ndarray, first: np.ndarray, form: str) -> np.ndarray:
    """The homography (3, 3) that maximises the enhanced correlation of both images in a form (Evangelidis & Psarakis,
    PAMI 2008), starting from `first`; `first` itself where that does not converge."""
    shown = shown_by(pixels_0.shape, pixels_1.shape, first).astype(np.uint8)
    template = form_of(pixels_0, form)
    other = form_of(warped_onto(pixels_0.shape, pixels_1, first), form, other=True)
    try:
        _, step = cv2.findTransformECC(
            template, other, np.eye(3, dtype=np.float32), cv2.MOTION_HOMOGRAPHY, ECC_STEPS, shown, ECC_BLUR
        )
    except cv2.error:  # it says so where the images correlate too little
        return first
    return first @ step.astype(np.float64) if np.isfinite(step).all() else first
