"""Does refinement help? As figures: the waterfall of causes, how errors average out, where refinement still hurts."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from microloftr.views.figures import BARS, FONT, LINE, new_figure

GREY = "#666666"
HOLLOW = {"markersize": 9, "markerfacecolor": "none", "markeredgewidth": 1.5}
COLOURS = {"shifted": BARS, "turned": LINE}
SHORT = {"median": "the median, px", "auc_3": "AUC@3 px"}
PANELS = {"median": "median error of the matches, px", "auc_3": "AUC@3 px of the transform"}


@dataclass(frozen=True, eq=False)
class Averaged:
    """A pair's matches, found − true (M, 2) px as cells and refined, and the corner error (px) of each transform."""

    name: str
    residuals: dict[str, np.ndarray]
    corner: dict[str, float]


def mends_of(rows: Mapping[str, Any]) -> list[str]:
    """The rows that mend one thing more than the row before."""
    return [key for key, row in rows.items() if row["words"].startswith("+ ")]


def total_of(rows: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """From the naive fine stage to the last mend, by metric: difference, low, high, verdict and `again`, other seeds'.

    A record that keeps no `total` has the differences alone, interval and verdict None: a median and an AUC do not
    tell how much their difference varies from pair to pair.
    """
    first, last, told = rows["naive"], rows[mends_of(rows)[-1]], {}
    for metric in PANELS:
        alone = {"difference": round(last[metric] - first[metric], 4), "low": None, "high": None, "verdict": None}
        kept = last.get("total", {}).get(metric, alone)
        seeds = zip(last.get("again", ()), first.get("again", ()), strict=False)
        again = [round(other[metric] - start[metric], 4) for other, start in seeds]
        told[metric] = {**kept, "verdict": last.get("total_holds", {}).get(metric), "again": again}
    return told


def draw_waterfall(values: Mapping[str, Any]) -> Figure:
    """A line per row of the record: median error and AUC@3 px; below, what each mend changes, and all of them together.

    Shifted and turned pairs apart, with 95 % intervals; hollow dots are of other seeds. The dashed lines are what the
    cells alone give, with the naive LoFTR's matches. A change is from the row before, on the same pairs.
    """
    probes = values["probes"]
    rows = next(iter(probes.values()))
    mends = mends_of(rows)
    changes = {probe: [*_changes(told, mends)] for probe, told in probes.items()} if mends else {}
    ratios = (len(rows), len(mends) + 1) if mends else (len(rows),)
    height = 1.6 + 0.36 * sum(ratios) + 0.5 * len(ratios)
    figure, axes = new_figure(len(ratios), 2, height=height, height_ratios=ratios)
    for column, (name, words) in enumerate(PANELS.items()):
        above = axes[0, column]
        for k, (probe, told) in enumerate(probes.items()):
            above.axvline(told["coarse"][name], color=COLOURS[probe], linewidth=1.0, linestyle="--")
            for place, row in enumerate(told.values()):
                limits = row[f"{name}_low"], row[f"{name}_high"]
                _dots(above, place, k, COLOURS[probe], row[name], limits, [o[name] for o in row.get("again", ())])
        _rows(above, [row["words"] for row in rows.values()] if not column else [""] * len(rows), words)
        above.set_xlim(left=0)
        if not mends:
            continue
        below = axes[1, column]
        below.axvline(0, color="black", linewidth=1.0)
        for k, (probe, told) in enumerate(changes.items()):
            for place, one in enumerate(told):
                change = one[name]
                limits = change["low"], change["high"]
                _dots(below, place, k, COLOURS[probe], change["difference"], limits, change["again"])
        labels = [*(rows[key]["words"] for key in mends), "all of these together"]
        _rows(below, labels if not column else [""] * len(labels), f"change of {SHORT[name]}")
        below.axhline(len(mends) - 0.5, color="#999999", linewidth=0.8)
    _key(figure, list(probes))
    return figure


def _changes(rows: Mapping[str, Any], mends: Sequence[str]) -> Iterator[dict[str, dict[str, Any]]]:
    """By metric the change of every mend, and of all: difference, low, high, and other seeds' differences."""
    for key in mends:
        others = [other["change"] for other in rows[key].get("again", ())]
        yield {name: {**rows[key]["change"][name], "again": [o[name]["difference"] for o in others]} for name in PANELS}
    yield total_of(rows)


def _dots(
    axis: Axes,
    place: int,
    k: int,
    colour: str,
    value: float,
    limits: tuple[float | None, float | None],
    others: Sequence[float],
) -> None:
    """One probe's line of a row: its interval where it has one, its dot, and the hollow dots of other seeds."""
    height = place + (k - 0.5) * 0.36
    if None not in limits:
        axis.plot(limits, (height, height), color=colour, linewidth=1.8)
    axis.plot(value, height, "o", color=colour, markersize=6)
    for other in others:
        axis.plot(other, height, "o", color=colour, **HOLLOW)


def _rows(axis: Axes, labels: Sequence[str], title: str) -> None:
    axis.set_ylim(len(labels) - 0.4, -0.6)
    axis.set_yticks(np.arange(len(labels)), labels, fontsize=FONT - 2)
    axis.set_title(title, fontsize=FONT)
    axis.grid(axis="x", color="#dddddd", linewidth=0.6)
    axis.tick_params(axis="y", length=0)
    axis.spines[["top", "right", "left"]].set_visible(False)


def _key(figure: Figure, probes: Sequence[str]) -> None:
    """What dots and lines mean, below the panels."""
    handles = [
        Line2D([], [], marker="o", color=COLOURS[probe], linewidth=1.8, label=f"{probe} pairs, 95 %")
        for probe in probes
    ]
    handles += [
        Line2D([], [], linestyle="none", marker="o", color=GREY, label="another seed", **HOLLOW),
        Line2D([], [], color=GREY, linewidth=1.0, linestyle="--", label="the cells alone"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, fontsize=FONT - 1, frameon=False)


def draw_averaged(cases: Sequence[Averaged]) -> Figure:
    """One panel per pair: found − true of every match, as cells and refined, and what is left in the transform.

    Places at which several cells are off by the very same are drawn large, with their number beside.
    """
    figure, axes = new_figure(1, len(cases), height=5.6)
    for axis, case in zip(axes[0], cases, strict=True):
        axis.axhline(0, color="#bbbbbb", linewidth=0.8, zorder=0)
        axis.axvline(0, color="#bbbbbb", linewidth=0.8, zorder=0)
        for name, colour, size in (("coarse", GREY, 6), ("fine", LINE, 4)):
            axis.plot(*case.residuals[name].T, ".", color=colour, markersize=size, alpha=0.6)
        for place, count in _heaps(case.residuals["coarse"]):
            axis.plot(*place, "s", color=GREY, markersize=11, markeredgecolor="black", markeredgewidth=1.2)
            axis.annotate(f"{count} cells", place, xytext=(0, 9), textcoords="offset points", ha="center",
                          va="bottom", fontsize=FONT - 1, weight="bold")  # fmt: skip
        axis.set(xlim=(-8, 8), ylim=(8, -8), xticks=np.arange(-8, 9, 4), yticks=np.arange(-8, 9, 4), aspect="equal")
        off = f"transform off by {case.corner['coarse']:.2f} px from cells, {case.corner['fine']:.2f} px refined"
        axis.set_title(f"{case.name} pair, {len(case.residuals['coarse'])} matches:\n{off}", fontsize=FONT - 1)
        axis.set_xlabel("found − true in x, px", fontsize=FONT)
        axis.set_ylabel("found − true in y, px", fontsize=FONT)
    handles = [
        Line2D([], [], linestyle="none", marker="o", color=colour, label=words)
        for colour, words in ((GREY, "as cells"), (LINE, "refined"))
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, fontsize=FONT, frameon=False)
    return figure


def _heaps(residuals: np.ndarray, least: int = 10) -> list[tuple[np.ndarray, int]]:
    """Places (2,) within ±8 px that at least so many residuals (M, 2) share to 0.2 px, with how many."""
    rounded, counts = np.unique(np.round(residuals / 0.2), axis=0, return_counts=True)
    return [(0.2 * place, int(n)) for place, n in zip(rounded, counts, strict=True)
            if n >= least and np.abs(0.2 * place).max() < 8]  # fmt: skip


def draw_harm(harm: Mapping[str, Any]) -> Figure:
    """Medians as cells and refined, share made worse, by the truth's distance from the cell; that share by level."""
    bins, levels = harm["by_distance"], harm["levels"]
    figure, ((errors, shares, by_level),) = new_figure(1, 3, height=4.2)
    places, names = np.arange(len(bins)), [f"{row['from']:g}–{row['to']:g}" for row in bins]
    for name, colour, words in (("coarse", GREY, "as cells"), ("fine", LINE, "refined")):
        errors.plot(places, [row[name] for row in bins], "o-", color=colour, label=words)
    errors.set_title("median error, px", fontsize=FONT)
    errors.legend(fontsize=FONT - 2, frameon=False)
    shares.bar(places, [100 * row["worse"] for row in bins], color=LINE)
    shares.set_title("made worse, %", fontsize=FONT)
    for axis in (errors, shares):
        axis.set_xticks(places, names, fontsize=FONT - 4, rotation=30)
        axis.set_xlabel("truth's distance from the cell, px", fontsize=FONT - 1)
    by_level.bar(range(len(levels)), [100 * row["worse"] for row in levels.values()], color=BARS)
    by_level.set_xticks(range(len(levels)), list(levels), fontsize=FONT - 3, rotation=30)
    by_level.set_title("made worse, %, by level", fontsize=FONT)
    for axis in (errors, shares, by_level):
        axis.set_ylim(bottom=0)
        axis.spines[["top", "right"]].set_visible(False)
    return figure
