"""Figures of pairs and their truth: where crops may lie, steps of appearance, matched cells, cells that share one."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Polygon, Rectangle
from torch import Tensor

from microloftr.data.atlas import Atlas
from microloftr.data.pairs import PairBatch
from microloftr.data.warps import Geometry
from microloftr.model.presets import COARSE_STRIDE
from microloftr.views.data_figures import UNMATCHABLE, place_colours
from microloftr.views.figures import BARS, FONT, LINE, draw_image, new_figure
from microloftr.views.pairs_study import Regions, outlines, regions

if TYPE_CHECKING:
    from microloftr.training.supervision import Truth

CROP_0, CROP_1 = "#cc79a7", "#56b4e9"  # outlines of the two crops
FREE = "#009e73"
ANGLES = ("#000000", BARS, LINE, "#009e73")
STARTS = {"fresh": (BARS, "from a fresh fine stage"), "shipped": (LINE, "from the shipped one")}


def micrograph_of(atlas: Atlas, number: int) -> np.ndarray:
    """A micrograph's luma (H, W) uint8."""
    first, height, width = (int(table[number, 0, 0]) for table in (atlas.offset, atlas.height, atlas.width))
    return atlas.values[first : first + height * width].reshape(height, width).cpu().numpy()


def draw_placing(atlas: Atlas, placed: Sequence[tuple[Geometry, int]], titles: Sequence[str], size: int) -> Figure:
    """Both crops of some pairs in their micrographs, and the regions in which the second crop's centre may lie."""
    columns = 2  # larger than three in a row: the last panel's neighbour holds the legend
    figure, axes = new_figure(-(-len(placed) // columns), columns, height=4.6 * -(-len(placed) // columns))
    for axis in axes.flat[len(placed) :]:
        axis.set_axis_off()
    for axis, (geometry, number), title in zip(axes.flat[: len(placed)], placed, titles, strict=True):
        place_in(axis, atlas, geometry, number, size, title)
    handles = [
        Patch(facecolor="none", edgecolor=CROP_0, linewidth=2.5, label="image_0"),
        Patch(facecolor="none", edgecolor=CROP_1, linewidth=2.5, label="image_1, dot: its centre"),
        Patch(facecolor=(0, 0.62, 0.45, 0.35), edgecolor=FREE, label="image_1's centre may lie here"),
        Patch(facecolor="none", edgecolor="white", linestyle="--", label="if it were alone"),
        Patch(facecolor="none", edgecolor=LINE, hatch="//", label="image_0 anywhere, the warp decides"),
    ]
    beside = len(placed) % columns
    where = {"loc": "center", "bbox_to_anchor": (0.77, 0.25)} if beside else {"loc": "outside lower center", "ncols": 3}
    figure.legend(handles=handles, fontsize=FONT - 1, facecolor="#bbbbbb", **where)
    return figure


def place_in(axes: Axes, atlas: Atlas, geometry: Geometry, number: int, size: int, title: str) -> Regions:
    """One pair's crops and regions on its micrograph; returns the regions."""
    draw_image(axes, micrograph_of(atlas, number), title)
    corners = outlines(geometry, size)[0]
    found = regions(geometry, 0, atlas.sizes[number], size)
    _box(axes, found.blind, edgecolor=LINE, facecolor="none", hatch="//", linewidth=1)
    _box(axes, found.alone, edgecolor="white", facecolor="none", linestyle="--", linewidth=2)
    _box(axes, found.both, edgecolor=FREE, facecolor=(0, 0.62, 0.45, 0.35), linewidth=2)
    for outline, colour in zip(corners, (CROP_0, CROP_1), strict=True):
        axes.add_patch(Polygon(outline, fill=False, edgecolor=colour, linewidth=2.5))
    middle = geometry.crop_1[0] @ np.array([(size - 1) / 2, (size - 1) / 2, 1])
    axes.plot(*(middle[:2] / middle[2]), "o", color=CROP_1, markersize=8, markeredgecolor="black")
    width, height = atlas.sizes[number]
    axes.set(xlim=(-0.12 * width, 1.12 * width), ylim=(1.12 * height, -0.12 * height))
    return found


def draw_stages(images: Mapping[str, Tensor], seen: Tensor) -> Figure:
    """Image_1 after each step, and the two channels (1, 2, S, S) that the network's first layer is given."""
    names = [*images, "the network: whole", "the network: local"]
    pictures = [image[0, 0].numpy() for image in images.values()] + [channel.numpy() for channel in seen[0]]
    figure, axes = new_figure(2, 4, height=5.6)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, name, picture in zip(axes.flat, names, pictures, strict=False):
        grey = not name.startswith("the network")  # grey values as they are; normalised ones from −2.5 to 2.5
        low, high = (0, 1) if grey else (-2.5, 2.5)
        shown = np.rint(255 * ((picture - low) / (high - low)).clip(0, 1)).astype(np.uint8)
        draw_image(axis, np.repeat(shown[..., None], 3, axis=2), name)
    return figure


def draw_truths(batch: PairBatch, truth: "Truth", titles: Sequence[str]) -> Figure:
    """Pairs as columns, image_0 above image_1: cells of the same colour match, orange ones cannot."""
    figure, axes = new_figure(2, len(titles), height=min(20 / len(titles) + 0.5, 8))
    for k, title in enumerate(titles):
        tints = tints_of(truth, k, batch)
        for row, (images, tint) in enumerate(zip((batch.images_0, batch.images_1), tints, strict=True)):
            _tinted(axes[row, k], images[k, 0].numpy(), tint, title if row == 0 else "")
    return figure


def draw_truth(batch: PairBatch, truth: "Truth", k: int = 0) -> Figure:
    """One pair's cells, and the supervision matrix: one dot for each matched cell of image_0, at most one a column."""
    figure, axes = new_figure(1, 3, height=4.0)
    for number, (images, tint) in enumerate(
        zip((batch.images_0, batch.images_1), tints_of(truth, k, batch), strict=True)
    ):
        _tinted(axes[0, number], images[k, 0].numpy(), tint, f"image_{number}")
    cells_1 = truth.cells_1[k].numpy()
    matched, last = np.flatnonzero(cells_1 >= 0), axes[0, 2]
    count_1 = truth.unmatchable_1.shape[1]
    for which, draw in ((truth.unmatchable_0[k], last.axhline), (truth.unmatchable_1[k], last.axvline)):
        for cell in which.nonzero()[:, 0].tolist():
            draw(cell, color=(*UNMATCHABLE, 0.25), linewidth=1)
    last.scatter(cells_1[matched], matched, s=7, c=place_colours(_grid(batch.images_0))[matched])
    last.set(xlim=(-1, count_1), ylim=(len(cells_1), -1), xlabel="cells of image_1", ylabel="cells of image_0")
    last.set_title(f"{len(matched)} true cells", fontsize=FONT)
    last.set_aspect("equal")
    return figure


def draw_sharing(curves: Mapping[float, Sequence[Any]], batch: PairBatch, counts: Tensor, nearest: Tensor) -> Figure:
    """How many cells share one, by scale and rotation; and on a pair, those that do in the colour of the one.

    `curves`: degrees → a Sharing for each scale; counts and nearest (1, L0) of the pair, as `sharing` and
    `nearest_cell` give them.
    """
    figure, axes = new_figure(1, 3, height=4.2, width_ratios=(1.25, 1, 1))
    plot = axes[0, 0]
    for (degrees, given), colour in zip(curves.items(), ANGLES, strict=True):
        scales = [one.scale for one in given]
        plot.plot(scales, [one.shared for one in given], color=colour, linewidth=2.5, label=f"{degrees:g}°")
        plot.plot(scales, [one.kept for one in given], "--", color=colour, linewidth=1.5)
    plot.set_xscale("log", base=2)
    ticks = (0.5, 0.7, 1, 1.4, 2)
    plot.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    plot.minorticks_off()
    plot.set(xlabel="scale of image_1", ylabel="share of the cells of image_0", ylim=(-0.02, 1.04))
    plot.legend(fontsize=FONT - 2, title="turned by", title_fontsize=FONT - 2, loc="center right")
    plot.set_title("share one cell (lines), kept (dashed)", fontsize=FONT - 1)
    plot.grid(alpha=0.3)
    shape_0, shape_1 = (_grid(images) for images in (batch.images_0, batch.images_1))
    colours = np.random.default_rng(3).permutation(place_colours(shape_1))
    counts, nearest = counts[0].numpy(), nearest[0].numpy()
    tints = [np.zeros((shape[0] * shape[1], 4)) for shape in (shape_0, shape_1)]
    sharing = counts > 1
    tints[0][sharing] = np.concatenate((colours[nearest[sharing]], np.full((sharing.sum(), 1), 0.75)), 1)
    tints[1][nearest[sharing]] = tints[0][sharing]
    _tinted(axes[0, 1], batch.images_0[0, 0].numpy(), tints[0], f"image_0: {int(sharing.sum())} cells share")
    own = len(np.unique(nearest[sharing]))
    _tinted(axes[0, 2], batch.images_1[0, 0].numpy(), tints[1], f"image_1: {own} of its cells")
    return figure


def draw_refined_cells(values: Mapping[str, Any], rules: Mapping[str, str]) -> Figure:
    """The median error on found cells after training a fine stage by each rule, with 95 % intervals over specimens."""
    figure, axes = new_figure(1, 2, height=3.6, sharey=True)
    for axis, (start, (colour, title)) in zip(axes[0], STARTS.items(), strict=True):
        rows = {rule: values["trained"][start][rule] for rule in rules if rule in values["trained"][start]}
        for rule, row in rows.items():
            at = list(rules).index(rule)
            axis.plot((row["median_low"], row["median_high"]), (at, at), color=colour, linewidth=4, alpha=0.5)
            axis.plot(row["median"], at, "o", color=colour, markersize=10)
            told = "" if row["verdict"] == "reference" else row["verdict"]
            axis.text(row["median_high"], at - 0.2, told, fontsize=FONT - 2, ha="right")
        axis.axvline(values["before"]["shipped"], color="black", linestyle=":", linewidth=2)
        axis.set_title(title, fontsize=FONT)
        axis.set_xlabel("median error, px (dotted: shipped)", fontsize=FONT)
        axis.grid(axis="x", alpha=0.3)
        axis.set_yticks(range(len(rules)), list(rules.values()), fontsize=FONT - 2)
        axis.set_ylim(len(rules) - 0.5, -0.7)
    return figure


def tints_of(truth: "Truth", k: int, batch: PairBatch) -> tuple[np.ndarray, np.ndarray]:
    """Colours (L, 4) of the cells of both images of pair k: by place where they match, orange where they cannot."""
    cells_1 = truth.cells_1[k].numpy()
    matched, colours = np.flatnonzero(cells_1 >= 0), place_colours(_grid(batch.images_0))
    tints = []
    for chosen, unmatchable in ((matched, truth.unmatchable_0), (cells_1[matched], truth.unmatchable_1)):
        tint = np.zeros((unmatchable.shape[1], 4))
        tint[unmatchable[k].numpy()] = [*UNMATCHABLE, 0.5]
        tint[chosen] = np.concatenate((colours[matched], np.full((len(matched), 1), 0.5)), 1)
        tints.append(tint)
    return tints[0], tints[1]


def _tinted(axes: Axes, pixels: np.ndarray, tint: np.ndarray, title: str) -> None:
    draw_image(axes, pixels, title)
    limits, half = (axes.get_xlim(), axes.get_ylim()), COARSE_STRIDE / 2
    shape = tuple(-(-side // COARSE_STRIDE) for side in pixels.shape)
    extent = (-half, COARSE_STRIDE * shape[1] - half, COARSE_STRIDE * shape[0] - half, -half)
    axes.imshow(tint.reshape(*shape, 4), extent=extent, interpolation="nearest")
    axes.set(xlim=limits[0], ylim=limits[1])


def _grid(images: Tensor) -> tuple[int, int]:
    return -(-images.shape[-2] // COARSE_STRIDE), -(-images.shape[-1] // COARSE_STRIDE)


def _box(axes: Axes, box: np.ndarray, **style) -> None:
    if (box[1] > box[0]).all():
        axes.add_patch(Rectangle(box[0], *(box[1] - box[0]), **style))
