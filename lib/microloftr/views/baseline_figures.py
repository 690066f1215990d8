"""Figures of the matchers beside each other: by level, where each breaks, and what each makes of one pair."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from microloftr.images import Image
from microloftr.registration.overlay import overlay
from microloftr.registration.transform import Transform
from microloftr.views.data_figures import LEVEL_COLOURS
from microloftr.views.figures import BARS, FONT, LINE, WIDTH, draw_image, new_figure
from microloftr.views.score_figures import COLOURS, MARKERS, ORDER

DODGE = 0.62  # of a step, over which the matchers' markers are spread
MARGIN = 0.22  # of a row, left free on both sides


def draw_baselines(values: dict[str, Any]) -> Figure:
    """AUC@3 px of every matcher of baselines.json at every level with its interval, best matcher first."""
    levels, matchers = values["levels"], values["matchers"]
    mean = {key: np.mean([part[key]["auc_3"] for part in levels.values()]) for key in matchers}
    order = sorted(matchers, key=lambda key: -mean[key])
    figure, ((axis,),) = new_figure(height=1.3 + 0.42 * len(order))
    for number, (level, part) in enumerate(levels.items()):
        offset = (number - (len(levels) - 1) / 2) * (1 - 2 * MARGIN) / len(levels)
        places = np.arange(len(order)) + offset
        found = np.array([part[key]["auc_3"] for key in order])
        low, high = (
            np.array([found[k] if part[key][f"auc_3_{side}"] is None else part[key][f"auc_3_{side}"]
                      for k, key in enumerate(order)]) for side in ("low", "high")
        )  # fmt: skip
        colour, marker = LEVEL_COLOURS[level], MARKERS[number % len(MARKERS)]
        axis.hlines(places, low, high, color=colour, linewidth=1.4, alpha=0.6)
        axis.plot(found, places, marker, color=colour, markersize=6.5, label=level, linestyle="none")
    axis.set_yticks(np.arange(len(order)), [matchers[key]["name"] for key in order], fontsize=FONT)
    axis.set_ylim(len(order) - 0.5, -0.5)
    axis.set_xlim(-0.02, 1.02)
    axis.set_xlabel("AUC@3 px of the mean corner error, 95 % interval", fontsize=FONT)
    axis.tick_params(axis="y", length=0)
    axis.grid(axis="x", color="#dddddd", linewidth=0.6)
    for place in range(1, len(order)):
        axis.axhline(place - 0.5, color="#cccccc", linewidth=0.7)
    axis.set_axisbelow(True)
    axis.spines[["top", "right", "left"]].set_visible(False)
    figure.legend(*axis.get_legend_handles_labels(), fontsize=FONT, frameon=False, loc="outside upper center", ncols=4)
    return figure


def draw_breaking(values: dict[str, Any]) -> Figure:
    """breaking.json: share of pairs that are right at every step of every factor, a line per matcher.

    Markers of one step stand beside each other, so that equal shares stay visible and every height is read true.
    """
    factors, matchers = values["factors"], values["matchers"]
    styles = styles_of(list(matchers))
    rows = -(-len(factors) // 2)
    figure, axes = new_figure(rows, 2, height=3.0 * rows + 0.6, sharey=True)
    for axis in axes.flat[len(factors) :]:
        axis.set_axis_off()
    for axis, part in zip(axes.flat, factors.values(), strict=False):
        places = np.arange(len(part["steps"]))
        for number, (key, told) in enumerate(matchers.items()):
            aside = DODGE * ((number + 0.5) / len(matchers) - 0.5)
            shares = part["right"][key]
            axis.plot(places + aside, shares, label=told["name"], linewidth=1.6, markersize=6.5, **styles[key])
        for place in places[1:]:
            axis.axvline(place - 0.5, color="#e5e5e5", linewidth=0.6)
        axis.axhline(0.5, color="#999999", linewidth=0.8, linestyle=(0, (4, 3)))
        axis.set_xticks(places, [f"{step:g}".replace("-", "−") for step in part["steps"]])
        axis.set_ylim(-0.06, 1.06)
        axis.set_xlim(-0.5, len(places) - 0.5)
        axis.set_xlabel(part["words"], fontsize=FONT)
        axis.grid(axis="y", color="#e5e5e5", linewidth=0.6)
    for axis in axes[:, 0]:
        axis.set_ylabel(f"share within {values['right_px']:g} px", fontsize=FONT)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=FONT, frameon=False, loc="outside lower center", ncols=min(len(labels), 6))
    return figure


def styles_of(keys: Sequence[str]) -> dict[str, dict[str, str]]:
    """Colour and marker of every matcher: a usual one's own, the others take what is left."""
    own = {key: ORDER.index(key) for key in keys if key in ORDER}
    left = [place for place in range(len(COLOURS)) if place not in own.values()]
    others = iter(left * len(keys))
    places = {key: own[key] if key in own else next(others) for key in keys}
    return {key: {"color": COLOURS[place], "marker": MARKERS[place]} for key, place in places.items()}


def draw_answers(
    image_0: Image, image_1: Image, answers: Mapping[str, tuple[Transform | None, str]], columns: int = 4
) -> Figure:
    """What matchers make of one pair: image_1, then an overlay for each (a transform or None, and a line of words)."""
    rows = -(-(1 + len(answers)) // columns)
    figure, axes = new_figure(rows, columns, height=rows * (WIDTH / columns + 0.75))
    for axis in axes.flat:
        axis.set_axis_off()
    draw_image(axes.flat[0], image_1, "image_1")
    for axis, (name, (transform, words)) in zip(axes.flat[1:], answers.items(), strict=False):
        title = f"{name}\n{words}"
        if transform is None:
            draw_image(axis, image_0, title)
        else:
            draw_image(axis, overlay(image_0, image_1, transform).pixels, title)
    return figure


def draw_fairness(biases: Mapping[str, np.ndarray], counts: Mapping[str, np.ndarray]) -> Figure:
    """What makes RootSIFT fair: mean error (K, 2) px under a half turn, and right matches (K,) on flat micrographs.

    Each by variant, a dot per micrograph; the second on a scale that is even from 0 to 1 and logarithmic above.
    """
    figure, axes = new_figure(1, 2, height=4.0, width_ratios=(1, 1.25))
    for (name, bias), colour, marker in zip(biases.items(), (LINE, BARS, "#009e73"), "osD", strict=False):
        axes[0, 0].plot(*bias.T, marker, color=colour, markersize=7, alpha=0.85, label=name, linestyle="none")
    axes[0, 0].axhline(0, color="#999999", linewidth=0.8)
    axes[0, 0].axvline(0, color="#999999", linewidth=0.8)
    axes[0, 0].set_aspect("equal", adjustable="datalim")
    axes[0, 0].set_xlabel("mean error in x, px", fontsize=FONT)
    axes[0, 0].set_ylabel("mean error in y, px", fontsize=FONT)
    axes[0, 0].set_title("turned by 180°", fontsize=FONT)
    axes[0, 0].legend(fontsize=FONT - 2, frameon=False, loc="center")
    names = list(counts)
    values = np.stack([counts[name] for name in names])
    for micrograph in values.T:
        axes[0, 1].plot(np.arange(len(names)), micrograph, "-o", color=BARS, linewidth=1.2, markersize=6, alpha=0.8)
    axes[0, 1].set_yscale("symlog", linthresh=1, linscale=0.4)
    ticks = [0, *(10**k for k in range(int(np.ceil(np.log10(max(values.max(), 1)))) + 1))]
    axes[0, 1].set_yticks(ticks, [f"{tick:,}" for tick in ticks])
    axes[0, 1].set_ylim(-0.3, 1.5 * max(values.max(), 1))
    axes[0, 1].axhline(0, color="#999999", linewidth=0.8)
    axes[0, 1].set_xticks(np.arange(len(names)), names, fontsize=FONT - 1)
    axes[0, 1].set_xlim(-0.4, len(names) - 0.6)
    axes[0, 1].set_ylabel("right matches", fontsize=FONT)
    axes[0, 1].set_title("a tenth of the contrast, a line per micrograph", fontsize=FONT)
    axes[0, 1].grid(axis="y", color="#e5e5e5", linewidth=0.6)
    return figure
