"""Scores as points with their intervals: a row per level, group or modality, a marker per matcher."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from microloftr.views.figures import FONT, new_figure

COLOURS = ("#0072b2", "#56b4e9", "#d55e00", "#009e73", "#b8860b", "#999999", "#cc79a7", "#000000")  # Okabe & Ito
MARKERS = "osD^vXP*"
ORDER = ("micro", "one_conv", "rootsift", "xfeat", "phase_correlation", "micro_random", "micro_zeros")
GAP = 0.26  # of a row, left free between two rows


def draw_scores(parts: dict[str, dict[str, Any]], matchers: dict[str, Any], error: str) -> Figure:
    """AUC@3 px and failures of every matcher in every part, with 95 % intervals.

    parts: summaries by part and matcher; matchers: `name` by key; error: what the AUC is of. A part where no
    truth is good enough for AUC@3 has no marker.
    """
    rows = {name: summaries for name, summaries in parts.items() if summaries}
    titles = {"auc_3": f"AUC@3 px of {error}", "failures": "share of pairs above 10 px"}
    figure, axes = new_figure(1, 2, height=1.35 + len(rows) * (0.2 + 0.13 * len(matchers)), sharey=True)
    for axis, (metric, title) in zip(axes[0], titles.items(), strict=True):
        for number, (key, told) in enumerate(matchers.items()):
            style = style_of(key, number)
            places = np.arange(len(rows)) + _offset(number, len(matchers))
            _points(axis, [summaries.get(key) for summaries in rows.values()], metric, places, told["name"], style)
        axis.set_title(title, fontsize=FONT)
        axis.set_xlim(-0.02, 1.02)
        axis.set_ylim(len(rows) - 0.5, -0.5)
        axis.set_yticks(np.arange(len(rows)), [_label(name, summaries) for name, summaries in rows.items()])
        axis.tick_params(axis="y", length=0)
        axis.grid(axis="x", color="#dddddd", linewidth=0.6)
        for place in range(1, len(rows)):
            axis.axhline(place - 0.5, color="#bbbbbb", linewidth=0.8)
        axis.set_axisbelow(True)
        axis.spines[["top", "right", "left"]].set_visible(False)
    columns = len(matchers) if len(matchers) < 5 else 3
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=FONT - 1, frameon=False, loc="outside lower center", ncols=columns)
    return figure


def style_of(key: str, number: int) -> dict[str, str]:
    """Colour and marker of a matcher, which is number `number` of those shown: its own where it is a usual one."""
    place = ORDER.index(key) if key in ORDER else len(ORDER) + number
    return {"color": COLOURS[place % len(COLOURS)], "marker": MARKERS[place % len(MARKERS)]}


def _points(axis: Any, summaries: Sequence[Any], metric: str, places: np.ndarray, name: str, style: dict) -> None:
    both = zip(places, summaries, strict=True)
    known = [(place, s) for place, s in both if s and None not in (s[metric], s["auc_3"])]
    values = [s[metric] for _, s in known]
    limits = [[abs(s[metric] - _limit(s, metric, side)) for _, s in known] for side in ("low", "high")]
    options = {"linestyle": "none", "markersize": 7, **style}
    axis.errorbar(values, [p for p, _ in known], xerr=limits if known else None, label=name, elinewidth=1.6, **options)


def _offset(number: int, count: int) -> float:
    return (number - (count - 1) / 2) * (1 - GAP) / max(count, 1)


def _limit(summary: dict[str, Any], metric: str, side: str) -> float:
    limit = summary[f"{metric}_{side}"]
    return summary[metric] if limit is None else limit


def _label(name: str, summaries: dict[str, Any]) -> str:
    """The part and how many of its pairs count for AUC@3 px."""
    known = next(iter(summaries.values()))
    count = f"{known['n']}" if known["n_3"] == known["n"] else f"{known['n_3']} of {known['n']}"
    return f"{name.replace('_', ' ')}\n{count} pairs"
