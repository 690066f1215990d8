"""The Matcher at work: what the network proposes for a pair, what the pixels say to it, and the points that agree."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from microloftr.guided import AGREES, NOISY, Guided, guided_matches, moved
from microloftr.proposals import ENOUGH, SUPPORTED
from microloftr.registration.overlay import overlay
from microloftr.search import TURNS, Hypothesis, PointsOf, hypotheses
from microloftr.views.figures import CONFIDENCE_MAP, FONT, draw_image, new_figure

RIGHT = "#00a0c0"  # frame of the supported proposal
SIMILARITIES = Normalize(NOISY.similarity, 1.0)


@dataclass(frozen=True, eq=False)
class Tried:
    """A proposal, and what following its pixels found; None where too little agreed."""

    proposal: Hypothesis
    guided: Guided | None

    @property
    def support(self) -> float:
        return self.guided.support if self.guided is not None else 0.0


@dataclass(frozen=True, eq=False)
class Work:
    """A pair (H, W), 0..1, and every proposal of thumbnails of `side` pixels, tried in the noisy look."""

    title: str
    pixels_0: NDArray[np.float32]
    pixels_1: NDArray[np.float32]
    side: int
    tried: tuple[Tried, ...]

    @property
    def best(self) -> Tried | None:
        """The best supported one, if it is supported at all."""
        best = max(self.tried, key=lambda one: one.support, default=None)
        return best if best is not None and best.support > SUPPORTED else None


def worked(title: str, pixels_0: NDArray, pixels_1: NDArray, points_of: PointsOf, sides: Iterable[int]) -> Work:
    """Every quarter turn's proposal tried, from thumbnails of each of `sides` pixels until one is well supported.

    The Matcher does the same and stops earlier: at the first sure proposal that is supported.
    """
    work = None
    for side in sides:
        proposed = hypotheses(pixels_0, pixels_1, side, points_of)
        tried = tuple(Tried(one, guided_matches(pixels_0, pixels_1, one.matrix)) for one in proposed)
        now = Work(title, pixels_0, pixels_1, side, tried)
        if work is None or (now.best and (not work.best or now.best.support > work.best.support)):
            work = now
        if work.best and work.best.support > ENOUGH:
            break
    return work


def draw_work(works: Sequence[Work]) -> Figure:
    """Two rows a pair: the images, the points that agree, the overlay by them; below, every proposal laid over.

    Overlays are in the frame of image_0: image_0 magenta, image_1 green, grey where they agree.
    """
    figure, axes = new_figure(2 * len(works), 4, height=5.7 * len(works) + 0.6)
    for number, work in enumerate(works):
        _found(axes[2 * number], work)
        for axis, turns in zip(axes[2 * number + 1], sorted(TURNS), strict=True):
            _proposal(axis, work, turns)
    colours = ScalarMappable(SIMILARITIES, CONFIDENCE_MAP)
    scale = figure.colorbar(colours, ax=axes[-1, :].tolist(), location="bottom", shrink=0.4, aspect=30, pad=0.05)
    scale.set_label("similarity of the patches at the points that agree", fontsize=FONT - 2)
    scale.ax.tick_params(labelsize=FONT - 2)
    return figure


def _found(row: Sequence[Axes], work: Work) -> None:
    """Both images, the points that agree with the best homography, and the overlay by it."""
    draw_image(row[0], work.pixels_0, f"{work.title}: image_0")
    draw_image(row[1], work.pixels_1, "image_1")
    draw_image(row[2], work.pixels_0)
    if work.best is None:
        row[2].set_title("nothing is supported", fontsize=FONT)
        row[3].set_axis_off()
        return
    guided = work.best.guided
    error = np.linalg.norm(moved(guided.points_0, guided.homography) - guided.points_1, axis=1)
    agree = error < AGREES
    colours = {"c": guided.similarity[agree], "norm": SIMILARITIES, "cmap": CONFIDENCE_MAP}
    row[2].scatter(*guided.points_0[agree].T, s=9, linewidths=0, **colours)
    row[2].set_title(f"{int(agree.sum())} points agree", fontsize=FONT)
    draw_image(row[3], overlay(work.pixels_0, work.pixels_1, guided.homography).pixels, "and lay it over")


def _proposal(axis: Axes, work: Work, turns: int) -> None:
    """The overlay by the proposal of one quarter turn, as it was before the pixels were followed."""
    tried = next((one for one in work.tried if one.proposal.turns == turns), None)
    head = f"{90 * turns}°, thumbnails of {work.side} px" if turns == 0 else f"{90 * turns}°"
    if tried is None:
        draw_image(axis, np.ones_like(work.pixels_0), f"{head}\nno proposal")
        return
    picture = overlay(work.pixels_0, work.pixels_1, tried.proposal.matrix).pixels
    draw_image(axis, picture, f"{head}\n{tried.proposal.agreeing} votes, support {tried.support:.2f}")
    if tried is work.best:
        height, width = work.pixels_0.shape
        frame = Rectangle((-0.5, -0.5), width, height, fill=False, edgecolor=RIGHT, linewidth=6)
        axis.add_patch(frame)
