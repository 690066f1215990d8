"""Figures of notebook 02: features at every level, what one place of each map sees, and the drift of the way up."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from microloftr.views.figures import BARS, FONT, LINE, draw_image, new_figure
from microloftr.views.model_figures import principal_colours
from microloftr.views.pyramid_figure import COLOURS
from microloftr.views.pyramid_study import Field, Level

BETWEEN = "#009e73"  # bluish green (Okabe & Ito)


def draw_features(image: np.ndarray, levels: Sequence[Level], maps: Mapping[str, Tensor]) -> Figure:
    """An image (H, W) in 0..1 and its maps (1, C, H/s, W/s), principal components as red, green and blue.

    Each map has components of its own, so colours say what is alike within a picture, not between pictures.
    """
    columns = 3
    rows = -(-(1 + len(levels)) // columns)
    height = rows * (10 / columns * image.shape[0] / image.shape[1] + 0.35)
    figure, axes = new_figure(rows, columns, height=height)
    draw_image(axes.flat[0], image, f"image, {image.shape[0]} × {image.shape[1]}")
    for axis, level in zip(axes.flat[1:], levels, strict=False):
        features = maps[level.name][0]
        (picture,) = principal_colours([features])
        rows_, columns_ = picture.shape[:2]
        axis.imshow(picture, interpolation="nearest", aspect=(image.shape[0] / rows_) / (image.shape[1] / columns_))
        axis.set_title(f"{level.name}: {features.shape[0]} × {rows_} × {columns_}", fontsize=FONT)
    for axis in axes.flat:
        axis.set_axis_off()
    return figure


def draw_fields(
    image: np.ndarray, seen: Mapping[str, Mapping[str, Field]], levels: Mapping[str, Sequence[Level]]
) -> Figure:
    """What the place in the middle of every map sees, on the image (H, W) around it; one row for each model.

    Solid: every pixel with a gradient; dotted: the square that holds nine tenths of it. All panels show as many pixels.
    """
    reach = max(field.extent for fields in seen.values() for field in fields.values()) // 2 + 8
    count = max(len(fields) for fields in seen.values())
    figure, axes = new_figure(len(seen), count, height=2.25 * len(seen))
    low, high = np.percentile(image, (0.5, 99.5))
    grey = np.clip((image - low) / max(high - low, 1e-6), 0, 1) ** 0.7
    for row, (name, fields) in zip(axes, seen.items(), strict=True):
        for axis in row:
            axis.set_axis_off()
        for axis, level in zip(row, levels[name], strict=False):
            _field(axis, grey, fields[level.name], COLOURS[level.stride], reach)
            axis.set_title(
                f"{level.name}\n{fields[level.name].extent} px, most in {fields[level.name].effective}", fontsize=9.5
            )
        row[0].text(-0.06, 0.5, name, transform=row[0].transAxes, rotation=90, ha="right", va="center", fontsize=FONT)
    return figure


def _field(axes: Axes, grey: np.ndarray, field: Field, colour: str, reach: int) -> None:
    """Gradients in warm colours over the image, both centred on the same pixel."""
    _centred(axes, grey, cmap="gray", vmin=0, vmax=1.6)
    heat = np.sqrt(field.heat / field.heat.max())
    _centred(axes, heat, cmap="hot", alpha=np.clip(heat * 2, 0, 0.9), interpolation="nearest", vmin=0, vmax=1)
    for side, style in ((field.extent, "-"), (field.effective, (0, (1.5, 1.2)))):
        box = Rectangle(
            (-side / 2, -side / 2), side, side, fill=False, edgecolor=colour, linewidth=1.8, linestyle=style
        )
        axes.add_patch(box)
    axes.set(xlim=(-reach, reach), ylim=(reach, -reach))


def _centred(axes: Axes, values: np.ndarray, **options) -> None:
    rows, columns = values.shape[0] // 2, values.shape[1] // 2
    axes.imshow(values, extent=(-columns - 0.5, columns + 0.5, rows + 0.5, -rows - 0.5), **options)


def draw_drift(read: Mapping[str, np.ndarray]) -> Figure:
    """By how many pixels the way up reads beside the place: name → (n, 2), where a place lies and where it reads."""
    figure, axes = new_figure(1, 1, height=3.6)
    axis, styles = axes[0, 0], ((LINE, "-"), (BETWEEN, "-"), (BARS, "-"), ("#222222", (0, (4, 3))))
    for (name, places), (colour, style) in zip(read.items(), styles, strict=False):
        drift = places[:, 1] - places[:, 0]
        axis.plot(places[:, 0], drift, color=colour, linestyle=style, linewidth=3)
        said = f"{name}: " + (f"{drift[-1]:+.1f} px" if abs(drift[-1]) > 0.05 else "0 px")
        style = {"textcoords": "offset points", "va": "center", "fontsize": FONT - 1, "color": colour}
        axis.annotate(said, (places[-1, 0], drift[-1]), xytext=(8, 0), **style)
    width = max(float(places[-1, 0]) for places in read.values())
    axis.set_xlim(0, 1.62 * width)
    axis.set_xticks([tick for tick in axis.get_xticks() if tick <= width + 8])
    axis.set_xlabel("x of the place, px", fontsize=FONT, loc="left")
    axis.set_ylabel("place read − place, px", fontsize=FONT)
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="y", alpha=0.3)
    return figure
