"""What a score is, drawn: the share of pairs below x, and the area under it."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from microloftr.views.figures import BARS, FONT, LINE, new_figure

COLOURS = (LINE, BARS, "#009e73", "#8a8a8a")


def draw_recall(by_hand: Sequence[float], threshold: float, curves: Mapping[str, Sequence[float]]) -> Figure:
    """Left: a few errors (px) and the area that AUC@`threshold` is made of; right: the curves of many pairs.

    Infinite errors are pairs without a transform: they hold every curve below 1.
    """
    figure, axes = new_figure(1, 2, height=4.2)
    left, right = axes[0]
    x, y = recall_curve(by_hand, threshold)
    left.fill_between(x, y, color=BARS, alpha=0.25, linewidth=0)
    left.plot(x, y, color=BARS, linewidth=2)
    for error in by_hand:
        if error <= threshold:
            left.plot(error, np.interp(error, x, y), "o", color=BARS, markersize=8)
    area = np.trapezoid(y, x) / threshold
    lost = sum(np.isinf(error) for error in by_hand)
    left.set_title(f"{len(by_hand)} pairs, {lost} failed: AUC@{threshold:g} = {area:.2f}", fontsize=FONT)
    for (name, errors), colour in zip(curves.items(), COLOURS, strict=False):
        x, y = recall_curve(errors, 10.0)
        right.plot(x, y, color=colour, linewidth=2, label=f"{name} ({len(errors)} pairs)")
    right.axvline(threshold, color="#999999", linewidth=1)
    right.set_title(f"the curves up to 10 px; the line is at {threshold:g} px", fontsize=FONT)
    right.legend(fontsize=FONT - 2, frameon=False, loc="lower right")
    for axis, end in ((left, threshold), (right, 10.0)):
        _frame(axis, end)
    return figure


def recall_curve(errors: Sequence[float], threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Share of pairs with an error below x, in straight lines from (0, 0), held from the last one up to `threshold`."""
    below = np.sort([error for error in errors if error < threshold])
    share = np.arange(len(below) + 1) / len(errors)
    return np.concatenate([[0.0], below, [threshold]]), np.append(share, share[-1])


def _frame(axis: Axes, end: float) -> None:
    axis.set(xlim=(0, end), ylim=(0, 1.02), xlabel="error, px", ylabel="share of pairs below it")
    axis.grid(color="#e5e5e5", linewidth=0.6)
    axis.spines[["top", "right"]].set_visible(False)
