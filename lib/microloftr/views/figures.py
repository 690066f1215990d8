"""Figures of a pair, its matches, the overlay and the residuals; each function returns a matplotlib Figure.

Figures are made without pyplot, so nothing is kept and nothing is shown twice. `show` puts one into a notebook as a
small JPEG or PNG, the same bytes every time; `save_figure` writes a file.
"""

import io
import os
from pathlib import Path

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from PIL import Image as Picture

from microloftr.errors import ParameterError
from microloftr.files import atomic_write
from microloftr.images import Image, resize
from microloftr.matches import Matches
from microloftr.registration.overlay import Overlay
from microloftr.registration.transform import Transform

WIDTH, DPI = 10.0, 100  # inches and dots per inch: 1000 pixels, readable at half the size
FONT = 13
CONFIDENCE_MAP = "viridis"
BARS, LINE = "#3b75af", "#ef8636"  # blue and orange, told apart with any colour vision
LONGEST_SIDE = 1200  # larger images are shrunk before they are drawn
LINES = 80  # matches drawn with a line; more would hide the images


def new_figure(rows: int = 1, columns: int = 1, height: float = 4.5, **layout) -> tuple[Figure, np.ndarray]:
    """An empty Figure WIDTH × height inches and its axes (rows, columns), in the project's font size."""
    figure = Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **layout)
    for axis in axes.flat:
        axis.tick_params(labelsize=FONT - 2)
        axis.title.set_fontsize(FONT)
        axis.xaxis.label.set_fontsize(FONT)
        axis.yaxis.label.set_fontsize(FONT)
    return figure, axes


def figure_bytes(figure: Figure, kind: str = "jpeg") -> bytes:
    """The figure as "jpeg" (micrographs) or "png" (lines, and what the vault takes), without date or program name.

    A PNG has 256 colours, which makes it a third as large and is not seen.
    """
    if kind not in ("jpeg", "png"):
        raise ParameterError(f"A figure becomes jpeg or png, not {kind!r}.")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    picture = Picture.fromarray(np.asarray(canvas.buffer_rgba())[..., :3])
    buffer = io.BytesIO()
    if kind == "jpeg":
        picture.save(buffer, format="JPEG", quality=85)
    else:
        few = picture.quantize(256, method=Picture.Quantize.FASTOCTREE, dither=Picture.Dither.NONE)
        few.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def show(figure: Figure, kind: str = "jpeg") -> None:
    """Display a figure in a notebook."""
    from IPython.display import Image as Shown
    from IPython.display import display

    display(Shown(data=figure_bytes(figure, kind), format=kind))


def save_figure(figure: Figure, path: str | os.PathLike) -> None:
    """Write a figure as .png, .jpg or .jpeg, whole or not at all."""
    kind = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg"}.get(Path(path).suffix.lower())
    if kind is None:
        raise ParameterError(f"A figure is written as .png or .jpg, not as {Path(path).name}.")
    data = figure_bytes(figure, kind)
    with atomic_write(path) as temporary:
        temporary.write_bytes(data)


def draw_image(axes: Axes, image: Image | np.ndarray, title: str = "", um_per_px: float | None = None) -> None:
    """A grey image (H, W) or a picture (H, W, 3) in its own pixel frame, with a scale bar where the size is known."""
    pixels = image.pixels if isinstance(image, Image) else image
    um_per_px = image.um_per_px if um_per_px is None and isinstance(image, Image) else um_per_px
    height, width = pixels.shape[:2]
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)
    axes.imshow(_thumbnail(pixels), cmap="gray", vmin=_limits(pixels)[0], vmax=_limits(pixels)[1], extent=extent)
    axes.set_title(title, fontsize=FONT)
    axes.set_axis_off()
    if um_per_px is not None:
        _scale_bar(axes, width, height, um_per_px)


def draw_pair(image_0: Image, image_1: Image) -> Figure:
    """Both images side by side, each with its size in its title."""
    height = WIDTH / 2 * max(_aspect(image_0), _aspect(image_1))
    figure, axes = new_figure(1, 2, height=float(np.clip(height, 2.5, 6.5)) + 0.4)
    for number, (axis, image) in enumerate(zip(axes.flat, (image_0, image_1), strict=True)):
        size = f"{image.pixels.shape[1]} × {image.pixels.shape[0]} px"
        draw_image(axis, image, f"image_{number}: {_short(image.name)}, {size}")
    return figure


def draw_matches(
    image_0: Image, image_1: Image, matches: Matches, transform: Transform | None = None, lines: int = LINES
) -> Figure:
    """Both images in one frame, every match a dot, some joined by a line, coloured by confidence.

    The lines go to the most confident match of each part of image_0, so that they show the whole of it. With a
    transform, matches that it does not explain are drawn dashed and with crosses. image_1 is scaled to the height of
    image_0.
    """
    height_0, width_0 = image_0.pixels.shape
    height_1, width_1 = image_1.pixels.shape
    scale, left = height_0 / height_1, width_0 * 1.03
    right = left + width_1 * scale
    height = float(np.clip(WIDTH * 0.88 * height_0 / right, 2.0, 6.5)) + 0.4
    figure, ((axes,),) = new_figure(height=height)
    draw_image(axes, image_0)
    extent = (left - 0.5, right - 0.5, height_0 - 0.5, -0.5)
    low, high = _limits(image_1.pixels)
    axes.imshow(_thumbnail(image_1.pixels), cmap="gray", vmin=low, vmax=high, extent=extent)
    axes.set_xlim(-0.5, right - 0.5)
    axes.set_ylim(height_0 - 0.5, -0.5)
    known = transform is not None and len(transform.inliers) == len(matches)
    inliers = transform.inliers if known else np.ones(len(matches), dtype=bool)
    ends_0 = matches.points_0
    ends_1 = (matches.points_1 + 0.5) * scale - 0.5 + [left, 0]
    colours = {"cmap": CONFIDENCE_MAP, "clim": (0, 1)}
    for group, marker, size in ((~inliers, "x", 18), (inliers, "o", 9)):
        for ends in (ends_0[group], ends_1[group]):
            dots = axes.scatter(
                *ends.T, c=matches.confidence[group], s=size, marker=marker, linewidths=1, cmap=CONFIDENCE_MAP
            )
            dots.set_clim(0, 1)
    chosen = _spread(matches, lines)
    for group, style, width in ((~inliers, (0, (2, 2)), 0.8), (inliers, "solid", 1.2)):
        index = chosen[group[chosen]]
        segments = np.stack([ends_0[index], ends_1[index]], axis=1)
        collection = LineCollection(segments, linewidths=width, linestyles=[style], alpha=0.9, **colours)
        collection.set_array(matches.confidence[index])
        axes.add_collection(collection)
    bar = figure.colorbar(dots, ax=axes, fraction=0.025, pad=0.01)
    bar.set_label("confidence", fontsize=FONT)
    bar.ax.tick_params(labelsize=FONT - 2)
    drawn = f", {len(chosen)} of them with a line" if len(chosen) < len(matches) else ""
    agree = f"; {int(inliers.sum())} agree with the transform" if known else ""
    axes.set_title(f"{len(matches)} matches{drawn}{agree}", fontsize=FONT)
    return figure


def draw_overlay(colour: Overlay, checkerboard: Overlay) -> Figure:
    """The overlay in colours and as a checkerboard, side by side."""
    height = WIDTH / 2 * colour.pixels.shape[0] / colour.pixels.shape[1]
    figure, axes = new_figure(1, 2, height=float(np.clip(height, 2.5, 6.5)) + 0.4)
    draw_image(axes[0, 0], colour.pixels, "image_0 magenta, image_1 green, grey: both")
    draw_image(axes[0, 1], checkerboard.pixels, "image_0 and image_1 (greenish) in turn")
    if colour.inverted:
        figure.suptitle("image_1 is shown with black and white swapped", fontsize=FONT)
    return figure


def draw_residuals(image_0: Image, matches: Matches, transform: Transform) -> Figure:
    """Where and by how much the matches disagree with the transform: arrows on image_0, and their lengths counted.

    Arrows point from where the transform puts a point to where its match lies, in pixels of image_1, as many
    times as long as the title says; matches beyond the threshold are not drawn but counted below the histogram.
    """
    height = float(np.clip(WIDTH / 2 * _aspect(image_0), 3.0, 5.0))
    figure, axes = new_figure(1, 2, height=height)
    magnify = _round_down(0.1 * image_0.pixels.shape[1] / transform.threshold)
    draw_image(axes[0, 0], image_0, f"residuals, {magnify:g} times as long")
    inliers = transform.inliers
    offset = matches.points_1 - transform.apply(matches.points_0)
    shown = matches.points_0[inliers]
    arrows = axes[0, 0].quiver(
        *shown.T,
        *offset[inliers].T * magnify,
        transform.residuals[inliers],
        angles="xy",
        scale_units="xy",
        scale=1,
        width=0.006,
        headwidth=3,
        headlength=3,
        headaxislength=3,
        cmap="plasma",
        clim=(0, transform.threshold),
    )
    bar = figure.colorbar(arrows, ax=axes[0, 0], fraction=0.04, pad=0.02)
    bar.set_label("px of image_1", fontsize=FONT)
    bar.ax.tick_params(labelsize=FONT - 2)
    axes[0, 1].hist(transform.residuals[inliers], bins=np.linspace(0, transform.threshold, 21), color=BARS)
    if transform.median_residual is not None:
        axes[0, 1].axvline(transform.median_residual, color=LINE, linewidth=3)
        axes[0, 1].set_title(f"median {transform.median_residual:.2f} px (line)", fontsize=FONT)
    beyond = len(inliers) - int(inliers.sum())
    axes[0, 1].set_xlabel(f"residual in px ({beyond} matches beyond {transform.threshold:g} px)", fontsize=FONT)
    axes[0, 1].set_ylabel("matches", fontsize=FONT)
    return figure


def _spread(matches: Matches, number: int) -> np.ndarray:
    """Indices (≤ number,) of the most confident match in each cell of a grid over image_0, best first."""
    if len(matches) <= number:
        return np.arange(len(matches))
    side = np.sqrt(matches.size_0[0] * matches.size_0[1] / number)
    order = np.argsort(-matches.confidence, kind="stable")
    cells = np.floor((matches.points_0[order] + 0.5) / side)
    first = np.unique(cells, axis=0, return_index=True)[1]
    return order[np.sort(first)][:number]


def _thumbnail(pixels: np.ndarray) -> np.ndarray:
    """The picture with at most LONGEST_SIDE pixels a side."""
    scale = LONGEST_SIDE / max(pixels.shape[:2])
    if scale >= 1:
        return pixels
    shape = tuple(max(1, round(side * scale)) for side in pixels.shape[:2])
    if pixels.ndim == 2:
        return resize(pixels, shape)
    return np.stack([resize(channel / 255, shape) for channel in np.moveaxis(pixels, 2, 0)], axis=2)


def _limits(pixels: np.ndarray) -> tuple[float, float]:
    """Grey values drawn black and white: the percentiles 0.5 and 99.5, as microscopes' own viewers do."""
    low, high = np.percentile(pixels, (0.5, 99.5))
    return (float(low), float(high)) if high > low else (0.0, 1.0)


def _scale_bar(axes: Axes, width: int, height: int, um_per_px: float) -> None:
    length = _round_down(width * um_per_px / 4)
    x, y = 0.05 * width, 0.94 * height
    outline = [patheffects.withStroke(linewidth=6, foreground="black")]
    axes.plot([x, x + length / um_per_px], [y, y], color="white", linewidth=4, path_effects=outline)
    label = f"{length:g} µm" if length >= 1 else f"{length * 1000:g} nm"
    outline = [patheffects.withStroke(linewidth=3, foreground="black")]
    axes.text(x, y - 0.025 * height, label, color="white", fontsize=FONT, path_effects=outline)


def _round_down(value: float) -> float:
    """The largest of …, 1, 2, 5, 10, 20, … that is not above the value."""
    power = 10.0 ** np.floor(np.log10(value))
    return power * max(step for step in (1, 2, 5) if step * power <= value)


def _aspect(image: Image) -> float:
    return image.pixels.shape[0] / image.pixels.shape[1]


def _short(name: str) -> str:
    return name if len(name) <= 24 else f"{name[:12]}…{name[-11:]}"
