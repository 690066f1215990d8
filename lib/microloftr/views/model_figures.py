"""Figures of the model on a real pair, each from one trace: features, attention, confidence, windows.

The cells shown are chosen by place (the middle of the overlap) or by rank of confidence, not by how well they do.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from torch import Tensor
from torch.nn import functional as F

from microloftr.geometry import cell_points
from microloftr.model.presets import COARSE_STRIDE, FINE_STRIDE
from microloftr.views.case import Case
from microloftr.views.figures import BARS, FONT, LINE, draw_image, new_figure

HEAT = "inferno"
LOG_LIMITS = (-8.0, 0.0)  # of log10 confidences
TRUE, FOUND = "#56b4e9", "#e69f00"  # sky blue and orange (Okabe & Ito)
EXAMPLES = (0.95, 0.65, 0.35, 0.05)  # ranks of confidence of the windows shown, 1 the most confident
AROUND = 18  # pixels of the image shown on either side of a window's centre


def draw_backbone(case: Case) -> Figure:
    """Both images and their features at 1/2, 1/4 and 1/8, the first three principal components as red, green, blue."""
    pyramids = case.trace.encoded.pyramid_0, case.trace.encoded.pyramid_1
    figure, axes = new_figure(2, 4, height=4.7)
    for k, image in enumerate((case.image_0, case.image_1)):
        draw_image(axes[k, 0], image, f"image_{k}")
    for column, level in enumerate(("half", "quarter", "eighth"), start=1):
        maps = [getattr(pyramid, level)[0] for pyramid in pyramids]
        for k, picture in enumerate(principal_colours(maps)):
            shown = f"1/{2**column}: {maps[k].shape[0]} channels" if k == 0 else ""
            draw_image(axes[k, column], picture, shown)
    return figure


def principal_colours(maps: Sequence[Tensor]) -> list[np.ndarray]:
    """Feature maps (C, h, w) as pictures (h, w, 3) uint8: one set of principal components for all of them."""
    flat = [features.flatten(1).T.double().numpy() for features in maps]
    everything = np.concatenate(flat)
    mean = everything.mean(0)
    _, axes = np.linalg.eigh(np.cov((everything - mean).T))
    axes = axes[:, ::-1][:, :3]
    axes = axes * np.sign(axes[np.abs(axes).argmax(0), range(3)])  # a sign of its own on every machine otherwise
    values = (everything - mean) @ axes
    low, high = np.percentile(values, (1, 99), axis=0)
    pictures = []
    for features, rows in zip(maps, flat, strict=True):
        scaled = np.clip(((rows - mean) @ axes - low) / np.maximum(high - low, 1e-9), 0, 1)
        pictures.append(np.rint(255 * scaled).astype(np.uint8).reshape(*features.shape[1:], 3))
    return pictures


def draw_transformer(case: Case) -> Figure:
    """One cell of image_0, and how similar every cell of image_1 is to it, before and after the transformer."""
    encoded, cell = case.trace.encoded, case.centre_of_overlap()
    figure, axes = new_figure(1, 3, height=3.0)
    _draw_cell(axes[0, 0], case, cell)
    maps = {
        "before the transformer": cosine_map(encoded.pyramid_0.eighth, encoded.pyramid_1.eighth, cell),
        "after it": cosine_map(encoded.coarse_0, encoded.coarse_1, cell),
    }
    limits = (min(float(values.min()) for values in maps.values()), 1.0)
    for axis, (title, values) in zip(axes[0, 1:], maps.items(), strict=True):
        drawn = draw_map(axis, values, f"image_1, {title}", limits)
        _ring(axis, case, cell)
    _bar(figure, axes, drawn, "cosine")
    return figure


def cosine_map(features_0: Tensor, features_1: Tensor, cell: int) -> np.ndarray:
    """Cosine (h, w) of a cell's features (1, C, h, w) with those of every cell of image_1."""
    one = F.normalize(features_0[0].flatten(1)[:, cell], dim=0)
    other = F.normalize(features_1[0].flatten(1), dim=0)
    return (one @ other).reshape(features_1.shape[-2:]).numpy()


def draw_coarse_matching(case: Case) -> Figure:
    """One cell's confidences over image_1, and the whole matrix of confidences."""
    cell = case.centre_of_overlap()
    log_confidence = case.trace.log_confidence[0]
    shape_0, shape_1 = case.trace.encoded.coarse_0.shape[-2:], case.trace.encoded.coarse_1.shape[-2:]
    figure, axes = new_figure(2, 2, height=7.6)
    _draw_cell(axes[0, 0], case, cell)
    row = (log_confidence[cell] / np.log(10)).reshape(shape_1).numpy()
    drawn = draw_map(axes[0, 1], row, "its confidences over image_1", LOG_LIMITS)
    _ring(axes[0, 1], case, cell)
    best = (log_confidence.max(1).values / np.log(10)).reshape(shape_0).numpy()
    draw_map(axes[1, 0], best, "best confidence of each cell of image_0", LOG_LIMITS)
    matrix = coarsened(log_confidence.numpy() / np.log(10), shape_0[1], shape_1[1])
    extent = (0, log_confidence.shape[1], log_confidence.shape[0], 0)
    low, high = LOG_LIMITS
    axes[1, 1].imshow(matrix, cmap=HEAT, vmin=low, vmax=high, extent=extent, interpolation="nearest", aspect="auto")
    axes[1, 1].set_title("all cells with all cells", fontsize=FONT)
    axes[1, 1].set_xlabel("cell of image_1", fontsize=FONT)
    axes[1, 1].set_ylabel("cell of image_0", fontsize=FONT)
    _bar(figure, axes, drawn, "log10 confidence")
    return figure


def coarsened(matrix: np.ndarray, width_0: int, width_1: int, most: int = 360) -> np.ndarray:
    """A matrix (L0, L1) with at most about `most` rows and columns, each place the maximum of those it stands for.

    Cells are joined along their rows of the grid only: a step that divides the grid's width makes no pattern.
    """
    steps = []
    for side, width in zip(matrix.shape, (width_0, width_1), strict=True):
        divisors = [step for step in range(1, width + 1) if width % step == 0]
        steps.append(next((step for step in divisors if side / step <= most), width))
    rows, columns = (side // step for side, step in zip(matrix.shape, steps, strict=True))
    return matrix.reshape(rows, steps[0], columns, steps[1]).max(axis=(1, 3))


def draw_refinement(case: Case, examples: Sequence[float] = EXAMPLES) -> Figure:
    """Windows with their heat, the point found and the truth; and how far all matches are off before and after."""
    matches = case.trace.matches
    order = np.argsort(-matches.confidence.numpy(), kind="stable")
    figure, _ = new_figure(height=4.4)
    figure.clear()
    columns = len(examples)
    places = figure.add_gridspec(2, columns + 2)
    for column, rank in enumerate(examples):
        both = [figure.add_subplot(places[row, column]) for row in (0, 1)]
        if len(order):
            index = int(order[min(int((1 - rank) * len(order)), len(order) - 1)])
            _draw_window(both[0], both[1], case, index, first=column == 0)
        else:
            for axes in both:
                axes.set_axis_off()
    handles = [
        Line2D([], [], linestyle="none", marker="+", color="#777777", markersize=12, markeredgewidth=2, label="cell"),
        Line2D([], [], linestyle="none", marker="x", color="black", markersize=9, markeredgewidth=3, label="found"),
        Line2D([], [], linestyle="none", marker="o", color=TRUE, markersize=12, markerfacecolor="none",
               markeredgewidth=3, label="truth"),
    ]  # fmt: skip
    figure.legend(handles=handles, loc="outside lower left", ncols=3, fontsize=FONT, frameon=False)
    axes = figure.add_subplot(places[:, columns:])
    truth = case.true_points(matches.points_0.numpy().astype(float))
    shown = {"coarse": (matches.coarse_points_1, LINE), "refined": (matches.points_1, BARS)}
    for label, (points, colour) in shown.items():
        error = np.hypot(*(points.numpy() - truth).T)
        median = f", median {np.median(error):.2f} px" if len(error) else ""
        axes.hist(np.minimum(error, 8.2), bins=np.arange(0, 8.41, 0.2), color=colour, alpha=0.75, label=label + median)
    axes.set_xlabel("px from the truth (8: or more)", fontsize=FONT)
    axes.set_ylabel("matches", fontsize=FONT)
    axes.tick_params(labelsize=FONT - 2)
    axes.legend(fontsize=FONT - 2, loc="upper right")
    axes.set_title(f"all {len(truth)} matches", fontsize=FONT)
    return figure


def _draw_window(above: Axes, below: Axes, case: Case, index: int, first: bool) -> None:
    """The cell's surroundings in image_0, and the heat over the window in image_1 with coarse, found and true point."""
    matches = case.trace.matches
    heat = case.trace.refined.log_heat[index].exp().numpy()
    side = int(len(heat) ** 0.5)
    reach = side // 2 * FINE_STRIDE + FINE_STRIDE / 2
    point_0, coarse = matches.points_0[index].numpy(), matches.coarse_points_1[index].numpy()
    found, true = matches.points_1[index].numpy(), case.true_points(point_0[None].astype(float))[0]
    _patch(above, case.image_0.pixels, point_0, f"confidence {float(matches.confidence[index]):.2f}")
    above.plot(*point_0, "+", color="white", markersize=16, markeredgewidth=2.5)
    _patch(below, case.image_1.pixels, coarse, "")
    extent = (coarse[0] - reach, coarse[0] + reach, coarse[1] + reach, coarse[1] - reach)
    alpha = 0.75 * (heat / heat.max()).reshape(side, side) ** 0.5
    below.imshow(heat.reshape(side, side), cmap="autumn", extent=extent, alpha=alpha, interpolation="nearest")
    below.add_patch(Rectangle(coarse - reach, 2 * reach, 2 * reach, fill=False, edgecolor="white", linewidth=1.2))
    below.plot(*coarse, "+", color="white", markersize=12, markeredgewidth=2)
    below.plot(*true, "o", color=TRUE, markersize=13, markerfacecolor="none", markeredgewidth=3)
    below.plot(*found, "x", color="black", markersize=9, markeredgewidth=3)
    if first:
        above.set_ylabel("image_0", fontsize=FONT)
        below.set_ylabel("image_1", fontsize=FONT)


def _patch(axes: Axes, pixels: np.ndarray, centre: np.ndarray, title: str) -> None:
    draw_image(axes, pixels, title)
    axes.set_xlim(centre[0] - AROUND, centre[0] + AROUND)
    axes.set_ylim(centre[1] + AROUND, centre[1] - AROUND)
    axes.set_axis_on()
    axes.set_xticks([])
    axes.set_yticks([])


def draw_map(axes: Axes, values: np.ndarray, title: str, limits: tuple[float, float]) -> AxesImage:
    """A value (h, w) per coarse cell in the pixel frame of its image; returns what a colour bar needs."""
    height, width = values.shape
    half = COARSE_STRIDE / 2
    extent = (-half, COARSE_STRIDE * width - half, COARSE_STRIDE * height - half, -half)
    drawn = axes.imshow(values, cmap=HEAT, vmin=limits[0], vmax=limits[1], extent=extent, interpolation="nearest")
    axes.set_title(title, fontsize=FONT)
    axes.set_axis_off()
    return drawn


def _bar(figure: Figure, axes: np.ndarray, drawn: AxesImage, label: str) -> None:
    bar = figure.colorbar(drawn, ax=list(axes.flat), fraction=0.02, pad=0.01)
    bar.set_label(label, fontsize=FONT)
    bar.ax.tick_params(labelsize=FONT - 2)


def _draw_cell(axes: Axes, case: Case, cell: int) -> None:
    point = cell_point(case, cell)
    draw_image(axes, case.image_0, "image_0 and one of its cells")
    axes.plot(*point, "s", color=FOUND, markersize=12, markerfacecolor="none", markeredgewidth=3)


def _ring(axes: Axes, case: Case, cell: int) -> None:
    """Where the cell truly lies in image_1."""
    true = case.true_points(cell_point(case, cell)[None])[0]
    axes.plot(*true, "o", color=TRUE, markersize=20, markerfacecolor="none", markeredgewidth=2.5)


def cell_point(case: Case, cell: int) -> np.ndarray:
    """Centre (2,) of a flat cell of image_0."""
    width = case.trace.encoded.coarse_0.shape[-1]
    index = case.trace.coarse_matches.cells_0.new_tensor(cell)
    return cell_points(index, width, COARSE_STRIDE).numpy().astype(float)
