"""Figures of what stands around the model: images, the pixel frame, levels, truth, losses, training."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import hsv_to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from microloftr.data.fixed import FixedPairs
from microloftr.images import Image
from microloftr.model.presets import COARSE_STRIDE
from microloftr.registration.overlay import overlay
from microloftr.views.case import Case
from microloftr.views.figures import BARS, FONT, LINE, draw_image, new_figure

if TYPE_CHECKING:
    from microloftr.training.supervision import Truth

CLAMP = 1e-6  # of the published coarse loss
UNMATCHABLE = np.array([0.84, 0.37, 0.0])  # vermilion (Okabe & Ito)
LEVEL_COLOURS = {"easy": "#0072b2", "medium": "#009e73", "hard": "#e69f00", "extreme": "#cc79a7"}


def draw_images(colour: np.ndarray, projections: dict[str, Image]) -> Figure:
    """A colour micrograph (H, W, 3) in 0..1 and the grey images that can be read from it."""
    figure, axes = new_figure(1, 1 + len(projections), height=2.9)
    draw_image(axes[0, 0], np.rint(colour * 255).astype(np.uint8), "the file")
    for axis, (title, image) in zip(axes[0, 1:], projections.items(), strict=True):
        draw_image(axis, image, title)
    return figure


def draw_frame(image: Image, corner: int = 24) -> Figure:
    """The pixel frame in the top-left corner of an image, and the grid of coarse cells over the whole of it."""
    figure, axes = new_figure(1, 2, height=4.6)
    left, right = axes.flat
    small = image.pixels[:corner, :corner]
    draw_image(left, small, f"the top-left {corner} × {corner} pixels")
    left.set_axis_on()
    left.set_xticks(range(0, corner, 4))
    left.set_yticks(range(0, corner, 4))
    left.tick_params(labelsize=FONT - 2)
    left.set_xlabel("x →", fontsize=FONT)
    left.set_ylabel("← y", fontsize=FONT)
    for edge in np.arange(-0.5, corner):
        left.axhline(edge, color="white", linewidth=0.25)
        left.axvline(edge, color="white", linewidth=0.25)
    centres = np.stack(np.meshgrid(*[np.arange(0, corner, COARSE_STRIDE)] * 2), -1).reshape(-1, 2)
    left.plot(*centres.T, "o", color=LINE, markersize=9, markeredgecolor="black", clip_on=False)
    half = COARSE_STRIDE / 2
    left.add_patch(Rectangle((half, half), COARSE_STRIDE, COARSE_STRIDE, fill=False, edgecolor=LINE, linewidth=3))
    left.annotate("the cell with centre (8, 8)", (5, 12), (1, 20.5), fontsize=FONT, color="black",
                  bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85},
                  arrowprops={"arrowstyle": "-|>", "color": LINE, "linewidth": 2})  # fmt: skip
    height, width = image.pixels.shape
    rows, columns = -(-height // COARSE_STRIDE), -(-width // COARSE_STRIDE)
    draw_image(right, image, f"{width} × {height} px: {columns} × {rows} cells")
    for k in range(columns):
        right.axvline(COARSE_STRIDE * k - half, color=LINE, linewidth=0.4)
    for k in range(rows):
        right.axhline(COARSE_STRIDE * k - half, color=LINE, linewidth=0.4)
    right.set_xlim(-0.5, width - 0.5)
    right.set_ylim(height - 0.5, -0.5)
    return figure


def draw_levels(pairs: Sequence[FixedPairs], index: int) -> Figure:
    """The same micrograph's pair at each level: image_0, image_1, and both laid over each other."""
    figure, axes = new_figure(3, len(pairs), height=7.9)
    for column, level in enumerate(pairs):
        image_0, image_1 = level.images_0[index], level.images_1[index]
        draw_image(axes[0, column], image_0, level.level)
        draw_image(axes[1, column], image_1, f"{level.overlap[index]:.0%} shared")
        draw_image(axes[2, column], overlay(image_0, image_1, level.homography[index]).pixels)
    return figure


def draw_supervision(case: Case, truth: "Truth") -> Figure:
    """Cells of both images: the same colour, the same match; orange: cannot match; without colour: count nowhere."""
    cells_1 = truth.cells_1[0].numpy()
    colours = place_colours(case.trace.encoded.coarse_0.shape[-2:])
    matched = np.flatnonzero(cells_1 >= 0)
    figure, axes = new_figure(1, 2, height=4.5)
    for k, image in enumerate((case.image_0, case.image_1)):
        shape = (case.trace.encoded.coarse_0, case.trace.encoded.coarse_1)[k].shape[-2:]
        unmatchable = (truth.unmatchable_0, truth.unmatchable_1)[k][0].numpy()
        tint = np.zeros((shape[0] * shape[1], 4))
        tint[unmatchable] = [*UNMATCHABLE, 0.5]
        tint[matched if k == 0 else cells_1[matched], :3] = colours[matched]
        tint[matched if k == 0 else cells_1[matched], 3] = 0.5
        neither = tint.shape[0] - len(matched) - int(unmatchable.sum())
        title = f"image_{k}: {len(matched)} match, {int(unmatchable.sum())} cannot, {neither} neither"
        draw_image(axes[0, k], image, title)
        half = COARSE_STRIDE / 2
        extent = (-half, COARSE_STRIDE * shape[1] - half, COARSE_STRIDE * shape[0] - half, -half)
        axes[0, k].imshow(tint.reshape(*shape, 4), extent=extent, interpolation="nearest")
    return figure


def place_colours(shape: tuple[int, int]) -> np.ndarray:
    """A colour (L, 3) for each cell of an h×w grid, changing smoothly from place to place; no orange among them."""
    y, x = np.indices(shape)
    y, x = y.ravel() / max(shape[0] - 1, 1), x.ravel() / max(shape[1] - 1, 1)
    return hsv_to_rgb(np.stack((0.33 + 0.45 * x, np.full(x.shape, 0.85), 0.45 + 0.55 * y), -1))


def draw_losses(log_confidence: np.ndarray, flat: float) -> Figure:
    """The coarse loss of a true cell over its confidence, as published and here; and the values of one pair.

    log_confidence (K,): of the true cells of a pair; flat: ln L0 + ln L1, the loss of a model that knows nothing.
    """
    figure, axes = new_figure(1, 2, height=4.0)
    left, right = axes.flat
    confidence = np.logspace(-9, 0, 400)
    left.plot(confidence, -np.log(np.maximum(confidence, CLAMP)), color=LINE, linewidth=5, label="clamped at 1e-6")
    left.plot(confidence, -np.log(confidence), color=BARS, linewidth=2.5, label="here: −log P")
    left.set_xscale("log")
    left.set_xlabel("confidence P of the true cell", fontsize=FONT)
    left.set_ylabel("loss in nats", fontsize=FONT)
    left.set_title("no slope, no learning", fontsize=FONT)
    left.legend(fontsize=FONT)
    values = -log_confidence
    right.hist(values, bins=np.linspace(0, max(20.0, float(values.max(initial=0))), 41), color=BARS)
    right.axvline(flat, color="black", linewidth=2, linestyle="--", label=f"knows nothing: {flat:.1f}")
    if len(values):
        right.axvline(values.mean(), color=LINE, linewidth=4, label=f"mean: {values.mean():.1f}")
    right.set_xlabel("−log P of a true cell", fontsize=FONT)
    right.set_ylabel("cells", fontsize=FONT)
    right.set_title(f"the {len(values)} true cells of the pair", fontsize=FONT)
    right.set_ylim(0, 1.35 * max(right.get_ylim()[1], 1))
    right.legend(fontsize=FONT, loc="upper left")
    _ticks(axes.flat)
    return figure


def draw_training(values: dict[str, Any]) -> Figure:
    """Loss and accuracy of the coarse cells over the steps of a run, in training and at each level of validation."""
    figure, axes = new_figure(1, 2, height=4.2)
    labels = {"coarse": "coarse loss in nats", "accuracy": "share of true cells found"}
    for axis, (name, label) in zip(axes.flat, labels.items(), strict=True):
        steps, series = np.asarray(values["steps"]), np.asarray(values[name], dtype=float)
        axis.plot(steps, series, color="#777777", linewidth=3, label="training")
        for level, run in values.get("validation", {}).items():
            colour = LEVEL_COLOURS[level]
            axis.plot(run["steps"], run[name], "o-", color=colour, linewidth=2.5, markersize=6, label=level)
        axis.set_xlabel("step", fontsize=FONT)
        axis.set_ylabel(label, fontsize=FONT)
        axis.set_ylim(0, 1 if name == "accuracy" else None)
        axis.grid(color="#dddddd", linewidth=0.6)
    handles = axes[0, 0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside upper center", ncols=5, fontsize=FONT - 1, frameon=False)
    _ticks(axes.flat)
    return figure


def draw_parameters(parts: dict[str, int]) -> Figure:
    """How many parameters each part has."""
    names = [name for name in parts if name != "total"]
    figure, ((axes,),) = new_figure(height=2.8)
    bars = axes.barh([name.replace("_", " ") for name in names], [parts[name] / 1000 for name in names], color=BARS)
    axes.bar_label(bars, [f"{parts[name]:,}" for name in names], padding=6, fontsize=FONT)
    axes.invert_yaxis()
    axes.set_xlim(0, max(parts[name] for name in names) / 1000 * 1.18)
    axes.set_xlabel("thousand parameters", fontsize=FONT)
    axes.set_title(f"{parts['total']:,} in all", fontsize=FONT)
    axes.spines[["top", "right"]].set_visible(False)
    _ticks([axes])
    axes.tick_params(axis="y", labelsize=FONT)
    return figure


def draw_turns(
    degrees: Sequence[float], counts: dict[str, Sequence[int]], image_0: Image, turned: np.ndarray, shown: float
) -> Figure:
    """How many right matches two Matchers find (label → counts) as image_1 is turned; `turned` is one such turn."""
    figure, axes = new_figure(1, 3, height=3.4, gridspec_kw={"width_ratios": (1, 1, 1.6)})
    draw_image(axes[0, 0], image_0, "image_0")
    draw_image(axes[0, 1], turned, f"image_1 at {shown:g}°")
    plot = axes[0, 2]
    for (label, values), colour, marker in zip(counts.items(), (BARS, LINE), "os", strict=True):
        plot.plot(degrees, values, f"{marker}-", color=colour, linewidth=3, markersize=8, label=label)
    plot.set_xlabel("rotation between the images in degrees", fontsize=FONT)
    plot.set_ylabel("matches within 3 px", fontsize=FONT)
    plot.set_xticks([d for d in degrees if d % 90 == 0])
    plot.set_ylim(0, None)
    plot.grid(color="#dddddd", linewidth=0.6)
    plot.legend(fontsize=FONT)
    _ticks([plot])
    return figure


def _ticks(axes: Sequence[Axes]) -> None:
    for axis in axes:
        axis.tick_params(labelsize=FONT - 2)
