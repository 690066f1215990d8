"""Boxes and arrows for diagrams, placed in inches, in one style: what they say comes from shapes, not from memory."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

WIDTH, DPI = 10.0, 150  # inches and dots per inch: letters stay sharp where the picture is enlarged
TITLE, LINE = 13.5, 12.0  # points
MONO_INCH = 0.602 * LINE / 72  # width of a letter
SANS_INCH = 0.68 * TITLE / 72
# edge and face: what is computed, what computes, what comes out, what is only looked at in training
KINDS = {
    "tensor": ("#0072b2", "#e6f1f8"),
    "step": ("#b85c00", "#fdf0e1"),
    "result": ("#00795a", "#e2f3ec"),
    "truth": ("#8a4a75", "#f7eaf2"),
}
INK = "#222222"


@dataclass(frozen=True)
class Box:
    """A box at its centre (x, y) in inches, y upwards; `lines` stand below the title, shapes in fixed width."""

    name: str
    x: float
    y: float
    title: str
    lines: tuple[str, ...] = ()
    kind: str = "tensor"
    wide: float | None = None

    @property
    def width(self) -> float:
        """As given, or as the text needs it."""
        if self.wide is not None:
            return self.wide
        longest = max([len(self.title) * SANS_INCH, *(len(line) * MONO_INCH for line in self.lines)])
        return longest + 0.3

    @property
    def height(self) -> float:
        """One line of title and those below it."""
        return 0.42 + 0.235 * len(self.lines)


@dataclass(frozen=True)
class Arrow:
    """From one box to another, by name; `bend` curves it, `label` stands at its middle."""

    start: str
    end: str
    label: str = ""
    bend: float = 0.0
    dashed: bool = False
    shift: tuple[float, float] = (0.0, 0.0)  # of the label, inches


def tensor(name: str, x: float, y: float, letters: str, shape: Sequence[int], kind: str = "tensor", **options) -> Box:
    """A box with a tensor's name, its shape letters and its real shape."""
    title = options.pop("title", name)
    return Box(name, x, y, title, (f"({letters})", show_shape(shape)), kind, **options)


def show_shape(shape: Sequence[int]) -> str:
    """1 × 128 × 50 × 60."""
    return " × ".join(map(str, shape))


def draw_boxes(boxes: Sequence[Box], arrows: Sequence[Arrow], height: float, notes: Sequence[tuple] = ()) -> Figure:
    """A diagram WIDTH × height inches. notes: (x, y, text) in small letters."""
    figure = Figure(figsize=(WIDTH, height), dpi=DPI, facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, WIDTH)
    axes.set_ylim(0, height)
    axes.set_axis_off()
    patches = {box.name: _draw_box(axes, box) for box in boxes}
    places = {box.name: (box.x, box.y) for box in boxes}
    for arrow in arrows:
        _draw_arrow(axes, arrow, places, patches)
    for x, y, text in notes:
        axes.text(x, y, text, fontsize=LINE - 1, color="#555555", ha="center", va="center", linespacing=1.35)
    return figure


def _draw_box(axes: Axes, box: Box) -> FancyBboxPatch:
    edge, face = KINDS[box.kind]
    style = "round,pad=0,rounding_size=0.12" if box.kind != "step" else "round,pad=0,rounding_size=0.3"
    corner = (box.x - box.width / 2, box.y - box.height / 2)
    patch = FancyBboxPatch(
        corner, box.width, box.height, boxstyle=style, linewidth=1.8, edgecolor=edge, facecolor=face, zorder=2
    )
    axes.add_patch(patch)
    top = box.y + 0.235 * len(box.lines) / 2
    axes.text(box.x, top, box.title, fontsize=TITLE, fontweight="bold", color=INK, ha="center", va="center", zorder=3)
    for number, line in enumerate(box.lines, start=1):
        shape = re.fullmatch(r"\(.*\)|[\d ×,]+", line)
        family = "DejaVu Sans Mono" if shape else "DejaVu Sans"
        size = LINE if shape else LINE - 1
        axes.text(box.x, top - 0.235 * number - 0.02, line, fontsize=size, family=family, color=INK, ha="center",
                  va="center", zorder=3)  # fmt: skip
    return patch


def _draw_arrow(axes: Axes, arrow: Arrow, places: dict, patches: dict) -> None:
    start, end = places[arrow.start], places[arrow.end]
    style = {"arrowstyle": "-|>,head_width=4.5,head_length=8", "mutation_scale": 1, "linewidth": 1.8, "zorder": 1}
    axes.add_patch(
        FancyArrowPatch(
            start, end, connectionstyle=f"arc3,rad={arrow.bend}", patchA=patches[arrow.start],
            patchB=patches[arrow.end], shrinkA=1, shrinkB=2, color="#444444", linestyle="--" if arrow.dashed else "-",
            **style,
        )
    )  # fmt: skip
    if arrow.label:
        x, y = ((a + b) / 2 + s for a, b, s in zip(start, end, arrow.shift, strict=True))
        axes.text(x, y, arrow.label, fontsize=LINE - 1, color="#444444", ha="center", va="center", zorder=4,
                  bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5})  # fmt: skip
