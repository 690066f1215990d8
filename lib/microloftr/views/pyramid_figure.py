"""A backbone as a pyramid of tilted maps: real features, sizes, channels, and what one place of each level sees.

What it says of sizes, channels and pixels comes from the maps and fields given; the arrows are those of
`model/backbone` and `model/resnet_fpn`.
"""

from dataclasses import dataclass

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, Polygon, Rectangle
from matplotlib.transforms import Affine2D
from torch import Tensor

from microloftr.views.model_figures import principal_colours
from microloftr.views.pyramid_study import Field, Layout

WIDTH, DPI = 10.0, 150
TILT, LEAN = 0.56, 0.3  # how far a map's rows rise and shift on paper, of their length on the map
SHRINK, LARGEST = 0.8, 3.3  # each level is drawn so much narrower than the one below; the image, inches
LEFT, PLUS, RIGHT, LABEL = 3.15, 5.12, 6.8, 8.62  # inches: middles of both columns, the sums, the labels on the right
COLOURS = {2: "#f0a030", 4: "#3fa7e0", 8: "#10a878", 16: "#d06fa8", 32: "#e2603a"}  # by stride
INK, GREY = "#222222", "#5a5a5a"
TITLE, TEXT = 13, 10.5
USES = {
    "micro": {"1/2": "refinement", "1/4": "refinement", "1/8 fused": "transformer"},
    "resnet_fpn": {"1/8 coarse": "transformer", "1/2 fine": "refinement"},
}
MIXED = {"micro": "3×3, 3×3, 1×1", "resnet_fpn": "3×3, 3×3"}


@dataclass(frozen=True)
class Tile:
    """A map lying on paper: its middle (x, y) and width in inches, and height / width."""

    x: float
    y: float
    width: float
    aspect: float

    @property
    def matrix(self) -> np.ndarray:
        """(3, 3), from (u, v) in −½ … ½, v downwards on the map, to inches."""
        depth = self.width * self.aspect
        return np.array([[self.width, -LEAN * depth, self.x], [0, -TILT * depth, self.y], [0, 0, 1]])

    def at(self, u: float, v: float) -> np.ndarray:
        """Inches (2,) of a place of the map."""
        return (self.matrix @ (u, v, 1))[:2]

    def square(self, wide: float, high: float) -> np.ndarray:
        """Corners (4, 2) of a rectangle around the middle, its sides as shares of the map's."""
        return np.array([self.at(a * wide / 2, b * high / 2) for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))])

    @property
    def rise(self) -> float:
        """Inches from the middle to the far edge, upwards."""
        return TILT * self.width * self.aspect / 2


def draw_pyramid(
    kind: str, layout: Layout, image: np.ndarray, maps: dict[str, Tensor], seen: dict[str, Field], title: str
) -> Figure:
    """The pyramid of one backbone (`kind` as in LAYOUTS) for an image (H, W) in 0..1.

    maps: level → (1, C, H/s, W/s), their first three principal components drawn as red, green and blue; seen: level →
    Field, said in words and, on the way down, outlined on the image.
    """
    aspect = image.shape[0] / image.shape[1]
    tiles, height = _stack(len(layout.down), aspect)
    figure = Figure(figsize=(WIDTH, height), dpi=DPI, facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, WIDTH), ylim=(0, height))
    axes.set_axis_off()
    axes.text(0.12, height - 0.3, title, fontsize=TITLE + 3, fontweight="bold", color=INK, va="center")
    low, high = np.percentile(image, (0.5, 99.5))
    grey = np.clip((image - low) / max(high - low, 1e-6), 0, 1) ** 0.7
    _lay(axes, tiles[0], np.repeat(np.rint(255 * grey).astype(np.uint8)[..., None], 3, 2), GREY, 2)
    _label(axes, 0.12, tiles[0].y, "image", ("H × W", f"{image.shape[0]} × {image.shape[1]}"), INK)
    for number, level in enumerate(layout.down, start=1):
        tile, colour = tiles[number], COLOURS[level.stride]
        _beam(axes, tile, tiles[0], maps[level.name].shape, image.shape, seen[level.name].extent, colour)
        _map(axes, tile, maps[level.name], colour, 4 + number)
        lines = _words(maps[level.name], seen[level.name], USES[kind].get(level.name))
        _label(axes, 0.12, tile.y, level.name, lines, colour)
        below, end = tiles[number - 1], tile.at(0.42, 0.5)
        _arrow(axes, (end[0], below.y + below.rise), end)
    axes.text(*(tiles[1].at(0.42, 0.5) + (0.1, -0.22)), "stride 2", fontsize=TEXT - 1, color=GREY, va="center",
              zorder=20, path_effects=_halo())  # fmt: skip
    _way_up(axes, kind, layout, tiles, maps, seen)
    last = tiles[strides_of(layout).index(layout.up[-1].stride) + 1]
    _inset(figure, layout, grey, seen, last.y - last.rise - 0.62)
    return figure


def _stack(levels: int, aspect: float) -> tuple[list[Tile], float]:
    """The image's tile, those of the way down above it, and the height of the figure."""
    widths = [LARGEST * SHRINK**number for number in range(levels + 1)]
    tiles, edge = [], 0.2
    for number, width in enumerate(widths):
        rise = TILT * width * aspect / 2
        tiles.append(Tile(LEFT, edge + rise, width, aspect))
        edge += 2 * rise + max(0.5 - 0.04 * number, 0.34)
    return tiles, edge + 0.35


def strides_of(layout: Layout) -> list[int]:
    """Of the way down, from fine to deep."""
    return [level.stride for level in layout.down]


def _way_up(axes: Axes, kind: str, layout: Layout, tiles: list[Tile], maps: dict, seen: dict) -> None:
    """The right column: sums, enlarged maps, and what leaves. The deepest map is its beginning."""
    fused = kind == "micro"  # all that is enlarged is added first and mixed once, at 1/8
    strides = strides_of(layout)
    deepest = tiles[-1]
    top = None if fused else layout.up[0]
    if fused:
        above = deepest.at(0.5, 0)
    else:
        tile = Tile(RIGHT, deepest.y, deepest.width, deepest.aspect)
        _leaf(axes, kind, top, tile, maps, seen)
        _arrow(axes, deepest.at(0.5, 0), tile.at(-0.5, 0), "1×1", (0, 0.16))
        above = tile.at(-0.38, 0.35)
    sums = [s for s in reversed(strides[:-1]) if s >= layout.up[-1].stride]
    for stride in sums:
        beside = tiles[strides.index(stride) + 1]
        node = np.array((PLUS, beside.y))
        side = "" if fused else "1×1"
        _arrow(axes, beside.at(0.5, 0), node - (0.15, 0), side, (0, 0.15))
        _arrow(
            axes, above, node + (0, 0.16), "×2", (0.2, 0.02), 0.0 if above[0] == PLUS else (-0.35 if fused else 0.25)
        )
        axes.add_patch(Circle(node, 0.15, facecolor="white", edgecolor=INK, linewidth=1.6, zorder=30))
        axes.text(*node, "+", fontsize=TITLE + 1, ha="center", va="center_baseline", zorder=31, color=INK)
        leaves = [level for level in layout.up if level.stride == stride]
        above = node - (0, 0.16)
        if leaves:
            tile = Tile(RIGHT + (0.12 if stride < 8 else 0), beside.y, beside.width, beside.aspect)
            _leaf(axes, kind, leaves[0], tile, maps, seen)
            _arrow(axes, node + (0.16, 0), tile.at(-0.5, 0), "", (0, 0))
            above = tile.at(-0.38, 0.35)
    last = tiles[strides.index(sums[-1]) + 1]
    style = {"fontsize": TEXT - 1, "color": GREY, "ha": "center", "va": "top", "zorder": 40, "path_effects": _halo()}
    axes.text(PLUS + 0.05, last.y - 0.38, f"mixed:\n{MIXED[kind]}", **style)


def _inset(figure: Figure, layout: Layout, grey: np.ndarray, seen: dict, top: float) -> None:
    """Below right, flat: the pixels around the middle, how much each counts for the last map, what each map sees."""
    last = layout.up[-1]
    field, (width, height) = seen[last.name], figure.get_size_inches()
    side = min(top, 2.3)
    left, reach = WIDTH - 0.55 - side, field.extent // 2 + 6
    axes = figure.add_axes((left / width, 0.22 / height, side / width, side / height))
    row, column = grey.shape[0] // 2, grey.shape[1] // 2
    axes.imshow(grey, cmap="gray", vmax=1.25, extent=(-column - 0.5, column + 0.5, row + 0.5, -row - 0.5))
    middle = field.heat.shape[0] // 2, field.heat.shape[1] // 2
    heat = np.sqrt(field.heat / field.heat.max())
    axes.imshow(heat, cmap="hot", alpha=np.clip(heat * 1.6, 0, 0.85), interpolation="nearest",
                extent=(-middle[1] - 0.5, middle[1] + 0.5, middle[0] + 0.5, -middle[0] - 0.5))  # fmt: skip
    for number, level in enumerate((*layout.down, last)):
        half, final = seen[level.name].extent / 2, number == len(layout.down)
        colour, style = ("white", (0, (4, 3))) if final else (COLOURS[level.stride], "-")
        axes.add_patch(
            Rectangle((-half, -half), 2 * half, 2 * half, fill=False, edgecolor=colour, linewidth=1.6, linestyle=style)
        )
    axes.set(xlim=(-reach, reach), ylim=(reach, -reach), xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_color(GREY)
    said = (
        f"{last.name}: one place sees\n{field.extent} × {field.extent} px (dashed);\n"
        f"nine tenths of its\ngradient lie within\n{field.effective} × {field.effective} px"
    )
    style = {"fontsize": TEXT - 0.5, "color": INK, "ha": "right", "va": "center", "linespacing": 1.4}
    figure.text((left - 0.12) / width, (0.22 + side / 2) / height, said, **style)


def _leaf(axes: Axes, kind: str, level, tile: Tile, maps: dict, seen: dict) -> None:
    _map(axes, tile, maps[level.name], COLOURS[level.stride], 12)
    lines = _words(maps[level.name], seen[level.name], USES[kind].get(level.name))
    _label(axes, LABEL, tile.y, level.name, lines, COLOURS[level.stride])


def _words(features: Tensor, field: Field, use: str | None) -> tuple[str, ...]:
    channels, height, width = features.shape[1:]
    return (f"{channels} × {height} × {width}", f"sees {field.extent} px", *([f"→ {use}"] if use else []))


def _map(axes: Axes, tile: Tile, features: Tensor, colour: str, order: int) -> None:
    """A map's principal colours, and the place in its middle."""
    (picture,) = principal_colours([features[0].detach()])
    _lay(axes, tile, picture, colour, order)
    cell = tile.square(*(max(1 / side, 0.03) for side in (features.shape[-1], features.shape[-2])))
    axes.add_patch(Polygon(cell, facecolor=colour, edgecolor="white", linewidth=1.0, zorder=order + 0.6))


def _lay(axes: Axes, tile: Tile, picture: np.ndarray, colour: str, order: int) -> None:
    shadow = tile.square(1, 1) + (0.05, -0.06)
    axes.add_patch(Polygon(shadow, facecolor="black", alpha=0.16, edgecolor="none", zorder=order))
    axes.imshow(picture, extent=(-0.5, 0.5, 0.5, -0.5), interpolation="nearest", aspect="auto", zorder=order + 0.2,
                transform=Affine2D(tile.matrix) + axes.transData)  # fmt: skip
    axes.set(xlim=(0, WIDTH), ylim=(0, axes.figure.get_size_inches()[1]))
    axes.add_patch(Polygon(tile.square(1, 1), facecolor="none", edgecolor=colour, linewidth=2.0, zorder=order + 0.5))


def _beam(axes: Axes, tile: Tile, ground: Tile, shape, pixels, extent: int, colour: str) -> None:
    """From the middle place of a map down to the square of the image that it sees."""
    upper = tile.square(*(max(1 / side, 0.03) for side in (shape[-1], shape[-2])))
    lower = ground.square(extent / pixels[1], extent / pixels[0])
    for a, b in ((0, 1), (1, 2), (2, 3), (3, 0)):
        side = np.array([upper[a], upper[b], lower[b], lower[a]])
        axes.add_patch(Polygon(side, facecolor=colour, alpha=0.13, edgecolor="none", zorder=3))
    axes.add_patch(Polygon(lower, facecolor="none", edgecolor=colour, linewidth=2.0, zorder=3.5))


def _label(axes: Axes, x: float, y: float, title: str, lines: tuple[str, ...], colour: str) -> None:
    top = y + 0.19 * len(lines) / 2
    axes.text(x, top, title, fontsize=TITLE, fontweight="bold", color=colour, va="center", zorder=50,
              path_effects=_halo())  # fmt: skip
    for number, line in enumerate(lines, start=1):
        family = "DejaVu Sans Mono" if "×" in line else "DejaVu Sans"
        style = {"fontsize": TEXT - 1, "family": family, "color": INK, "va": "center", "zorder": 50}
        axes.text(x, top - 0.205 * number - 0.02, line, path_effects=_halo(), **style)


def _arrow(axes: Axes, start, end, label: str = "", shift: tuple[float, float] = (0, 0), bend: float = 0.0) -> None:
    axes.add_patch(
        FancyArrowPatch(
            tuple(start), tuple(end), arrowstyle="-|>,head_width=3.6,head_length=6.5", mutation_scale=1, linewidth=1.7,
            color="#3c3c3c", shrinkA=1, shrinkB=1, connectionstyle=f"arc3,rad={bend}", zorder=25,
        )
    )  # fmt: skip
    if label:
        x, y = (np.asarray(start) + np.asarray(end)) / 2 + shift
        axes.text(
            x, y, label, fontsize=TEXT - 0.5, color=GREY, ha="center", va="center", zorder=40, path_effects=_halo()
        )


def _halo() -> list:
    return [patheffects.withStroke(linewidth=2.5, foreground="white")]
