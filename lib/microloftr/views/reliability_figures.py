"""The reliability diagram, and the verdicts on matching and on unrelated pairs, of one record."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from microloftr.views.data_figures import LEVEL_COLOURS
from microloftr.views.figures import FONT, new_figure
from microloftr.views.score_figures import style_of

FEW = 20  # a bin of fewer matches says too little to be drawn
RIGHT_COLOUR, BETWEEN_COLOUR, WRONG_COLOUR, NONE_COLOUR = "#0072b2", "#a9c7e8", "#d55e00", "#dddddd"
SMALL = FONT - 2


def draw_reliability(values: dict[str, Any]) -> Figure:
    """Above: the share of right matches (3 px) by confidence, of the first matcher by level and of all matchers with
    their calibration error (of a matcher with a map: on specimens that it was not fitted to), and how many matches say
    so much. Below: what users are told about matching pairs, pairs with nothing in common, and real pairs.
    """
    matchers = values["matchers"]
    first = next(iter(matchers.values()))
    real = {key: told for key, told in matchers.items() if "real" in told}
    bars = 1.2 + 0.36 * len(matchers)
    heights = (4.4, 1.5, bars, *[bars] * bool(real))
    figure, axes = new_figure(len(heights), 2, height=2.4 + sum(heights) * 0.92, height_ratios=heights)
    for level, told in first["levels"].items():
        if level != "all":
            _curve(axes[0, 0], told["within_3"], level, LEVEL_COLOURS[level], "o")
            _counts(axes[1, 0], told["within_3"], LEVEL_COLOURS[level])
    _curve(axes[0, 0], first["levels"]["all"]["within_1"], "all, within 1 px", "#000000", "", "dashed")
    _frame(axes[0, 0], f"{first['name']}: matches within 3 px, by level")
    for number, (key, told) in enumerate(matchers.items()):
        style = style_of(key, number)
        part = told.get("cross_fitted", told["levels"]["all"])["within_3"]
        error = part.get("ece_pairs", part["ece"])
        label = told["name"] if error is None else f"{told['name']}, error {error:.3f}"
        _curve(axes[0, 1], part, label, style["color"], style["marker"])
        _counts(axes[1, 1], part, style["color"])
    _frame(axes[0, 1], "all levels, by matcher")
    parts = [told["verdicts"]["all"] for told in matchers.values()]
    _verdicts(axes[2, 0], matchers, parts, f"transform of {parts[0]['n']} matching pairs", values)
    _false(axes[2, 1], matchers)
    if real:
        parts = [told["real"]["all"] for told in real.values()]
        _verdicts(axes[3, 0], real, parts, f"transform of {parts[0]['n']} real pairs, over the overlap", values)
        axes[3, 1].set_axis_off()
    return figure


def _counts(axis: Axes, part: dict[str, Any], colour: str) -> None:
    """How many matches each bin has: a step where there are any, on a scale of powers of ten."""
    counts = [one["matches"] for one in part["bins"]]
    edges = [one["from"] for one in part["bins"]] + [1.0]
    axis.stairs(np.maximum(counts, 0.5), edges, baseline=0.5, color=colour, linewidth=1.6)
    axis.set(xlim=(0, 1), yscale="log", ylim=(0.5, None), xlabel="confidence", ylabel="matches")
    axis.spines[["top", "right"]].set_visible(False)


def _curve(axis: Axes, part: dict[str, Any], label: str, colour: str, marker: str, style: str = "solid") -> None:
    bins = [one for one in part["bins"] if one["matches"] >= FEW]
    x, y = ([one[name] for one in bins] for name in ("confidence", "right"))
    limits = [[abs(one["right"] - _or(one[f"right_{side}"], one["right"])) for one in bins] for side in ("low", "high")]
    if len(bins) == 1:  # a single marker lies in a corner, below those of others
        label += f": all near {x[0]:.1f}"
    options = {"color": colour, "linestyle": style, "marker": marker or None, "markersize": 6, "linewidth": 1.6}
    options["clip_on"] = False
    axis.errorbar(x, y, yerr=limits if bins and marker else None, label=label, elinewidth=1.2, **options)


def _or(value: float | None, other: float) -> float:
    return other if value is None else value


def _frame(axis: Axes, title: str) -> None:
    axis.plot([0, 1], [0, 1], color="#999999", linewidth=1, zorder=0)
    axis.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="confidence", ylabel="share that is right")
    axis.set_title(title, fontsize=FONT)
    axis.grid(color="#e5e5e5", linewidth=0.6)
    axis.spines[["top", "right"]].set_visible(False)
    below = {"loc": "upper center", "bbox_to_anchor": (0.46, -0.2), "ncols": 2, "columnspacing": 1.0}
    axis.legend(fontsize=SMALL - 1, frameon=False, handlelength=1.6, labelspacing=0.3, **below)


def _verdicts(axis: Axes, matchers: dict[str, Any], parts: list[dict[str, Any]], title: str, values: dict) -> None:
    right, wrong, given = (np.array([part.get(name, 0.0) for part in parts]) for name in ("right", "wrong", "given"))
    stacked = {
        f"to {values['right_px']:g} px": (right, RIGHT_COLOUR),
        f"to {values['wrong_px']:g} px": (given - right - wrong, BETWEEN_COLOUR),
        "beyond": (wrong, WRONG_COLOUR),
        "none": (1 - given, NONE_COLOUR),
    }
    left = np.zeros(len(parts))
    for label, (widths, colour) in stacked.items():
        axis.barh(np.arange(len(parts)), widths, 0.7, left, color=colour, label=label)
        left = left + widths
    _rows(axis, matchers, title)
    axis.legend(
        fontsize=SMALL - 1, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=4, handlelength=0.8,
        columnspacing=0.9,
    )  # fmt: skip


def _false(axis: Axes, matchers: dict[str, Any]) -> None:
    parts = [told["verdicts"]["unrelated"] for told in matchers.values()]
    values = [part["given"] for part in parts]
    limits = [
        [abs(part["given"] - _or(part[f"given_{side}"], part["given"])) for part in parts] for side in ("low", "high")
    ]
    places = np.arange(len(parts))
    axis.barh(places, values, 0.7, color=WRONG_COLOUR)
    axis.errorbar(values, places, xerr=limits, fmt="none", ecolor="#333333", elinewidth=1.4)
    for place, value, limit in zip(places, values, limits[1], strict=True):
        axis.text(value + limit + 0.02, place, f"{value:.0%}", va="center", fontsize=SMALL)
    _rows(axis, matchers, f"a transform given for {parts[0]['n']} unrelated pairs")


def _rows(axis: Axes, matchers: dict[str, Any], title: str) -> None:
    axis.set_yticks(np.arange(len(matchers)), [told["name"] for told in matchers.values()])
    axis.set_ylim(len(matchers) - 0.4, -0.6)
    axis.set_xlim(0, 1)
    axis.set_title(title, fontsize=FONT)
    axis.spines[["top", "right"]].set_visible(False)
