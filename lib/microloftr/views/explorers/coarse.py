"""Click a coarse cell of image_0, see its row of the confidence matrix on image_1; move threshold and border.

`draw_explorer` draws one view as a Figure, the widget's static twin; `explore` is the widget. Both draw with `Scene`.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backend_bases import MouseEvent
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle

from microloftr.errors import ParameterError
from microloftr.geometry import cell_points, nearest_cell
from microloftr.model.coarse_matching import CoarseMatches, inner, select
from microloftr.model.presets import COARSE_STRIDE
from microloftr.views.case import Case
from microloftr.views.coarse_study import RIGHT, errors
from microloftr.views.figures import FONT, draw_image, new_figure
from microloftr.views.model_figures import FOUND, HEAT, TRUE, cell_point

DECADES = 6.0  # of confidence shown: what is below 10⁻⁶ is transparent
REACH = 44  # pixels of image_1 shown larger on either side of the best partner
WRONG, UNTOLD = "#d55e00", "#ffffff"  # vermilion; white where the truth is not shown
RIGHT_COLOUR = TRUE
THRESHOLDS = (0.0, 0.001, 0.003, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9)
MOST_BORDER = 8


@dataclass(frozen=True)
class View:
    """What is shown: a flat cell of image_0, the rules, and whether the truth is told."""

    cell: int
    threshold: float = 0.1
    border: int = 0
    truth: bool = True


def draw_explorer(case: Case, view: View) -> Figure:
    """One view of a case as a Figure. Raises ParameterError for a cell or a rule that cannot be."""
    scene = Scene(case)
    scene.show(view)
    return scene.figure


class Scene:
    """A figure whose artists are made once and moved for every view, which is what makes the widget quick."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.shapes = [tuple(c.shape[-2:]) for c in (case.trace.encoded.coarse_0, case.trace.encoded.coarse_1)]
        self.figure, axes = new_figure(1, 3, height=4.3, width_ratios=(1, 1, 0.68))
        self.figure.get_layout_engine().set(w_pad=0.02, wspace=0.01)
        self.axes_0, self.axes_1, self.closer = axes[0]
        titles = ("image_0: click a cell", "image_1: its row of the matrix", "around its partner")
        for axis, image, title in zip(axes[0], (case.image_0, case.image_1, case.image_1), titles, strict=True):
            draw_image(axis, image.pixels, title)
        self.heats = [_heat(axis, self.shapes[1]) for axis in (self.axes_1, self.closer)]
        bar = self.figure.colorbar(self.heats[0], ax=self.closer, orientation="horizontal", pad=0.02)
        bar.set_label("log10 confidence", fontsize=FONT)
        bar.ax.tick_params(labelsize=FONT - 2)
        self.dots = [axis.scatter([], [], s=6, linewidths=0) for axis in (self.axes_0, self.axes_1)]
        self.frames = [_frame(axis) for axis in (self.axes_0, self.axes_1, self.closer)]
        self.rings = [
            axis.plot([], [], "o", color=TRUE, markersize=size, markerfacecolor="none", markeredgewidth=2.5)[0]
            for axis, size in ((self.axes_1, 17), (self.closer, 26))
        ]
        self.heading = self.figure.suptitle(" \n ", fontsize=FONT)

    def show(self, view: View) -> None:
        """Move the artists to a view."""
        case = self.case
        check_view(view, self.shapes[0])
        log_confidence = case.trace.log_confidence
        found = select(log_confidence, *self.shapes, view.threshold, view.border)
        row = log_confidence[0, view.cell].reshape(self.shapes[1]).numpy() / np.log(10)
        for heat in self.heats:
            heat.set_data(row)
            heat.set_alpha(np.clip(1 + row / DECADES, 0, 1) ** 0.5 * 0.9)
        points = _points(case, found)
        wrong = errors(case, found.cells_0, torch.from_numpy(points[1])) >= RIGHT
        colours = np.where(wrong, WRONG, RIGHT_COLOUR) if view.truth else np.full(len(wrong), UNTOLD)
        for dots, ends in zip(self.dots, points, strict=True):
            dots.set_offsets(ends.reshape(-1, 2))
            dots.set_facecolor(colours.tolist())
        point = cell_point(case, view.cell)
        best = cell_points(log_confidence[0, view.cell].argmax(), self.shapes[1][1], COARSE_STRIDE).numpy()
        for frame, centre in zip(self.frames, (point, best, best), strict=True):
            frame.set_xy(centre - COARSE_STRIDE / 2)
        chosen = bool((found.cells_0 == view.cell).any())
        true = case.true_points(point[None])
        for frame, ring in zip(self.frames[1:], self.rings, strict=True):
            frame.set_linestyle("-" if chosen else (0, (1.5, 1.5)))
            ring.set_data(*(true.T if view.truth else np.empty((2, 0))))
        self.closer.set(xlim=(best[0] - REACH, best[0] + REACH), ylim=(best[1] + REACH, best[1] - REACH))
        told = f": {int((~wrong).sum())} right (blue), {int(wrong.sum())} wrong (red)" if view.truth else ""
        self.heading.set_text(f"{verdict(case, view)} In all {len(wrong)} matches{told}.")

    def cell_at(self, x: float, y: float) -> int | None:
        """The flat cell of image_0 nearest to a point in pixels; None on the rim that belongs to no cell."""
        cell = int(nearest_cell(torch.tensor([x, y], dtype=torch.float64), *self.shapes[0], COARSE_STRIDE))
        return cell if cell >= 0 else None


def verdict(case: Case, view: View) -> str:
    """Which partner the cell has, and why it is a match or why not; two lines. Cells are (row, column)."""
    log_confidence = case.trace.log_confidence[0]
    coarse = case.trace.encoded.coarse_0, case.trace.encoded.coarse_1
    width_0, width_1 = (c.shape[-1] for c in coarse)
    value, best = log_confidence[view.cell].max(0)
    rival = int(log_confidence[:, best].argmax())
    cells = view.cell, int(best)
    near = [not bool(inner(c.shape[-2:], view.border)[0, cell]) for c, cell in zip(coarse, cells, strict=True)]
    if float(value.exp()) <= view.threshold:
        why = f"No match: not above the threshold {view.threshold:g}"
    elif rival != view.cell:
        why = f"No match: its partner prefers cell ({rival // width_0}, {rival % width_0})"
    elif any(near):
        why = f"No match: within {view.border} cells of the edge of image_{near.index(True)}"
    else:
        why = "A match"
    first = f"Cell ({view.cell // width_0}, {view.cell % width_0}) of image_0"
    second = f"its best partner is ({int(best) // width_1}, {int(best) % width_1}), confidence {float(value.exp()):.2g}"
    return f"{first}: {second}.\n{why}."


def explore(case: Case, view: View):
    """The widget: a figure that answers to clicks, two sliders and a box.

    Returns an ipywidgets VBox with the attributes `view` (what is shown now) and `scene`.
    """
    import ipywidgets  # here, so that a picture alone needs no widgets
    from ipympl.backend_nbagg import Canvas, FigureManager

    scene = Scene(case)
    canvas = Canvas(scene.figure)
    FigureManager(canvas, 0)
    canvas.toolbar_visible = canvas.header_visible = canvas.footer_visible = canvas.resizable = False
    threshold = ipywidgets.SelectionSlider(
        options=sorted({*THRESHOLDS, view.threshold}), value=view.threshold, description="threshold"
    )
    border = ipywidgets.IntSlider(view.border, 0, max(MOST_BORDER, view.border), description="border")
    truth = ipywidgets.Checkbox(view.truth, description="show the truth", indent=False)
    box = ipywidgets.VBox([ipywidgets.HBox([threshold, border, truth]), canvas])
    box.scene, box.view = scene, view
    scene.show(view)
    scene.figure.draw_without_rendering()
    scene.figure.set_layout_engine("none")  # the layout holds for every view; making it anew would cost half the time

    def move(**changes) -> None:
        box.view = replace(box.view, **changes)
        scene.show(box.view)
        canvas.draw_idle()

    def clicked(event: MouseEvent) -> None:
        if event.inaxes is scene.axes_0 and (cell := scene.cell_at(event.xdata, event.ydata)) is not None:
            move(cell=cell)

    canvas.mpl_connect("button_press_event", clicked)
    for name, control in (("threshold", threshold), ("border", border), ("truth", truth)):
        control.observe(lambda change, name=name: move(**{name: change["new"]}), "value")
    return box


def check_view(view: View, shape_0: tuple[int, int]) -> None:
    """ParameterError for a view that cannot be."""
    last = shape_0[0] * shape_0[1] - 1
    if not 0 <= view.cell <= last:
        raise ParameterError(f"There is no cell {view.cell}; the cells of image_0 go from 0 to {last}.")
    if not 0 <= view.threshold < 1 or view.border < 0:
        raise ParameterError("The threshold must be at least 0 and below 1, and the border 0 or more.")


def _points(case: Case, found: CoarseMatches) -> list[np.ndarray]:
    """Centres (M, 2) of the matched cells in both images."""
    grids = case.trace.encoded.coarse_0, case.trace.encoded.coarse_1
    both = zip((found.cells_0, found.cells_1), grids, strict=True)
    return [cell_points(cells, grid.shape[-1], COARSE_STRIDE).numpy().astype(float) for cells, grid in both]


def _heat(axes: Axes, shape: tuple[int, int]) -> AxesImage:
    """An empty heat map of an h×w grid over an image; the last cells may reach beyond it."""
    limits = axes.get_xlim(), axes.get_ylim()
    half = COARSE_STRIDE / 2
    extent = (-half, COARSE_STRIDE * shape[1] - half, COARSE_STRIDE * shape[0] - half, -half)
    heat = axes.imshow(
        np.zeros(shape), cmap=HEAT, vmin=-DECADES, vmax=0, alpha=np.zeros(shape), extent=extent, interpolation="nearest"
    )
    axes.set(xlim=limits[0], ylim=limits[1])
    return heat


def _frame(axes: Axes) -> Rectangle:
    frame = Rectangle((0, 0), COARSE_STRIDE, COARSE_STRIDE, fill=False, edgecolor=FOUND, linewidth=2.5)
    return axes.add_patch(frame)
