"""A run drawn: its losses by part, its validation by level, where it stops, and where its time goes."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from microloftr.views.data_figures import LEVEL_COLOURS
from microloftr.views.figures import BARS, FONT, LINE, new_figure

GREY = "#777777"
PARTS = {  # of the loss: colour, and what it is measured in
    "coarse": ("#0072b2", "coarse"),
    "matchability": ("#009e73", "matchability"),
    "heat": ("#d55e00", "heat"),
    "offset": ("#cc79a7", "offset (px)"),
}
STAGES = {  # of a step, in the order that they come in
    "waiting": ("#999999", "waiting for numbers"),
    "pairs": ("#009e73", "making pairs"),
    "forward": ("#56b4e9", "forward"),
    "backward": ("#0072b2", "backward"),
    "optimizer": ("#e69f00", "optimizer"),
}


def draw_run(
    values: dict[str, Any],
    stop: dict[str, Any] | None = None,
    rates: dict[str, tuple[np.ndarray, np.ndarray]] | None = None,
) -> Figure:
    """A record's curves: parts of the training loss, share of true cells found, validation loss by level.

    values as `microloftr.training.record.curves` gives them; `stop` as `record.stop_of` does, None where the run made
    no validation; `rates` as `record.rates_of`. Below: the learning rate, and where the run noted them pairs per second
    and the norm of the gradient.
    """
    figure, grid = new_figure(2, 3, height=5.4, height_ratios=(5, 1))
    axes, below = grid[:1], grid[1]
    steps = np.asarray(values["steps"])
    for part, (colour, label) in PARTS.items():
        if part in values:
            axes[0, 0].plot(steps, values[part], color=colour, linewidth=2.5, label=label)
    axes[0, 0].set_title("training loss by part, nats", fontsize=FONT)
    axes[0, 1].plot(steps, values["accuracy"], color=GREY, linewidth=3, label="training")
    axes[0, 1].set_title("share of true cells found", fontsize=FONT)
    axes[0, 1].set_ylim(0, 1)
    axes[0, 2].set_title("validation loss", fontsize=FONT)
    for level, run in values["validation"].items():
        style = {"color": LEVEL_COLOURS[level], "marker": "o", "markersize": 5, "linewidth": 2}
        if run["steps"]:
            axes[0, 1].plot(run["steps"], run["accuracy"], label=level, **style)
            axes[0, 2].plot(run["steps"], run["loss"], **style)
    if stop is not None:
        axes[0, 2].plot(stop["steps"], stop["losses"], color="black", linewidth=3, label=f"mean of {stop['judged']}")
        _mark_stop(axes[0, 2], stop)
    for axis in axes.flat:
        axis.set_ylim(0, None)
        _plain(axis)
    axes[0, 0].set_ylim(0, 1.35 * axes[0, 0].get_ylim()[1])  # room for the legend
    axes[0, 0].legend(fontsize=FONT - 2, ncols=2, columnspacing=0.8, handlelength=1.2, loc="upper center")
    below[0].set_visible(bool(rates))
    if rates:
        for (at, there), style in zip(rates.values(), ("-", "--"), strict=True):
            below[0].plot(at, 1e3 * there, style, color="black")
        below[0].set_title("learning rate, ‰ (-- backbone)", fontsize=FONT - 2)
        below[0].set_ylim(0, None)
        _plain(below[0])
    for axis, name, title in ((below[1], "pairs_per_s", "pairs per second"), (below[2], "gradient", "gradient, norm")):
        axis.set_visible(name in values)
        if name in values:
            axis.plot(steps, values[name], color=GREY, linewidth=2)
            axis.set_title(title, fontsize=FONT - 2)
            axis.set_ylim(0, None)
            _plain(axis)
    _legend(figure, axes[0, 1:])
    return figure


def draw_stopping(values: dict[str, Any]) -> Figure:
    """results/early_stopping.json: the losses of a run that goes on past the turn, by level, and one that stopped."""
    figure, axes = new_figure(1, 3, height=4.6)
    validation, training, stop = values["validation"], values["training"], values["stop"]
    axes[0, 0].plot(training["steps"], training["loss"], color=GREY, linewidth=3, label="training")
    axes[0, 0].plot(validation["steps"], validation["loss"], "o-", color="black", markersize=4, label="judged")
    axes[0, 0].set_title("by heart: loss", fontsize=FONT)
    for level, colour in LEVEL_COLOURS.items():
        axes[0, 1].plot(validation["steps"], validation["losses"][level], "o-", color=colour, markersize=4, label=level)
    axes[0, 1].set_title("by heart: each level", fontsize=FONT)
    really = values["really"]["stop"]
    axes[0, 2].plot(really["steps"], really["losses"], "o-", color="black", markersize=4)
    axes[0, 2].set_title("really stopped", fontsize=FONT)
    axes[0, 2].axvspan(values["really"]["steps"], values["really"]["planned"], color=LINE, alpha=0.18, linewidth=0)
    axes[0, 2].set_xlim(0, values["really"]["planned"])
    for axis, told in zip(axes.flat, (stop, stop, really | {"stop_step": None}), strict=True):
        axis.set_ylim(0 if told is stop else None, None)
        _mark_stop(axis, told)
        _plain(axis)
    _legend(figure, axes.flat)
    return figure


def draw_curve(parts: dict[str, Any], seen: list[dict[str, float]], label: str = "fixed pairs") -> Figure:
    """A small run: its coarse loss, and what is right of its own pairs and of the fixed ones.

    parts as `microloftr.training.small_run.means` gives them; seen: {"step", "accuracy"} of the fixed pairs.
    """
    figure, axes = new_figure(1, 2, height=3.4)
    axes[0, 0].plot(parts["steps"], parts["coarse"], color=GREY, linewidth=3)
    axes[0, 0].set_title("coarse loss, nats", fontsize=FONT)
    axes[0, 1].plot(parts["steps"], parts["accuracy"], color=GREY, linewidth=3, label="pairs of training")
    steps = [one["step"] for one in seen]
    axes[0, 1].plot(steps, [one["accuracy"] for one in seen], "o-", color=BARS, linewidth=2.5, label=label)
    axes[0, 1].set_title("share of true cells found", fontsize=FONT)
    axes[0, 1].legend(fontsize=FONT - 1)
    for axis in axes.flat:
        axis.set_ylim(0, None)
        _plain(axis)
    return figure


def draw_time(values: dict[str, Any]) -> Figure:
    """results/training_speed.json: where the time of one step goes."""
    figure, ((axes,),) = new_figure(height=1.7)
    left = 0.0
    for stage, (colour, label) in STAGES.items():
        share = values["share"][stage]
        axes.barh(0, share, left=left, color=colour, edgecolor="white", label=f"{label} {share:.0%}")
        left += share
    axes.set_xlim(0, left)
    axes.set_axis_off()
    figure.suptitle(
        f"one step of {values['pairs_per_step']} pairs: {values['ms_per_step'] / 1000:.1f} s", fontsize=FONT
    )
    figure.legend(loc="outside lower center", ncols=3, fontsize=FONT - 1, frameon=False)
    return figure


def _mark_stop(axis: Axes, stop: dict[str, Any]) -> None:
    """A dotted line at the best validation; what stopping early leaves undone is shaded."""
    axis.axvline(stop["best_step"], color=LINE, linewidth=2, linestyle=":", label="best validation")
    if stop["stop_step"] is not None:
        axis.axvspan(stop["stop_step"], stop["last_step"], color=LINE, alpha=0.18, linewidth=0, label="after the stop")


def _legend(figure: Figure, axes: Iterable[Axes]) -> None:
    """One legend for several axes, each label once."""
    kept = {label: handle for axis in axes for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(kept.values(), kept, loc="outside lower center", ncols=4, fontsize=FONT - 1, frameon=False)


def _plain(axis: Axes) -> None:
    axis.set_xlabel("step", fontsize=FONT)
    axis.tick_params(labelsize=FONT - 2)
    axis.grid(color="#dddddd", linewidth=0.6)
    axis.locator_params(axis="x", nbins=5)
