"""Choose a level, a seed, a turn and a scale; see where the two crops lie, what they show, and where points truly go.

`draw_explorer` draws one view as a Figure, the widget's static twin; `explore` is the widget.
"""

from dataclasses import dataclass, replace

import numpy as np
from matplotlib.figure import Figure

from microloftr.data.atlas import Atlas
from microloftr.data.levels import LEVELS
from microloftr.data.pairs import true_points_1
from microloftr.geometry import grid_points
from microloftr.model.presets import COARSE_STRIDE
from microloftr.views.data_figures import place_colours
from microloftr.views.figures import FONT, draw_image, figure_bytes, new_figure
from microloftr.views.pairs_figures import place_in
from microloftr.views.pairs_study import geometry_at, pair_at, sharing

SIZE = 160  # px of a crop
DOTS = 16  # px between the points that are followed


@dataclass(frozen=True)
class View:
    """What is shown: a pair's level, seed and number; its rotation (degrees) and scale, None for the level's own."""

    level: str = "medium"
    seed: int = 0
    number: int = 0
    rotation: float | None = None
    scale: float | None = None


def draw_explorer(atlas: Atlas, view: View) -> Figure:
    """One view of a pair as a Figure: its place in the micrograph, both images, and points followed by the truth.

    Raises ParameterError for a level or value that cannot be.
    """
    given = (atlas, view.level, view.seed, view.number, SIZE, view.rotation, view.scale)
    geometry, micrograph = geometry_at(*given)
    batch = pair_at(*given)
    figure, axes = new_figure(1, 3, height=4.2)
    place_in(axes[0, 0], atlas, geometry, micrograph, SIZE, "")
    side = SIZE // DOTS
    points_0 = grid_points(side, side, DOTS)[None] + DOTS / 2
    points_1 = true_points_1(points_0, batch)[0].numpy()
    shown = ((points_1 >= 0) & (points_1 <= SIZE - 1)).all(1)
    colours = np.where(shown[:, None], place_colours((side, side)), (0.84, 0.37, 0.0))
    for axis, images, points, which in (
        (axes[0, 1], batch.images_0, points_0[0].numpy(), np.ones(len(shown), dtype=bool)),
        (axes[0, 2], batch.images_1, points_1, shown),
    ):
        draw_image(axis, images[0, 0].numpy())
        axis.scatter(*points[which].T, s=34, c=colours[which], edgecolors="white", linewidths=0.8)
    cells = SIZE // COARSE_STRIDE
    counts = sharing(true_points_1(grid_points(cells, cells, COARSE_STRIDE)[None], batch), (cells, cells))[0]
    several = float((counts > 1).sum() / max(int((counts > 0).sum()), 1))
    figure.suptitle(
        f"{view.level}, {atlas.names[micrograph].replace('_', ' ')}: {geometry.overlap[0]:.0%} shared, "
        f"scale {geometry.zoom_1[0] / geometry.zoom_0[0]:.2f}\n"
        f"orange points are not in image_1; {several:.0%} of the cells that are share theirs with another",
        fontsize=FONT,
    )
    return figure


def explore(atlas: Atlas, view: View):
    """The widget: a picture that follows a choice of level, seed, pair, turn and scale.

    Returns an ipywidgets VBox with the attribute `view` (what is shown now).
    """
    import ipywidgets  # here, so that a picture alone needs no widgets

    picture = ipywidgets.Image(format="jpeg")
    controls = {
        "level": ipywidgets.Dropdown(options=list(LEVELS), value=view.level, description="level"),
        "seed": ipywidgets.BoundedIntText(view.seed, 0, 10_000, description="seed"),
        "number": ipywidgets.IntSlider(view.number, 0, max(len(atlas) - 1, view.number), description="pair"),
        "rotation": ipywidgets.IntSlider(round(view.rotation or 0), -180, 180, description="turn, °"),
        "scale": ipywidgets.FloatSlider(view.scale or 1.0, min=0.5, max=2.0, step=0.05, description="scale"),
    }
    own = ipywidgets.Checkbox(view.rotation is None and view.scale is None, description="the level's own", indent=False)
    box = ipywidgets.VBox(
        [ipywidgets.HBox([*controls.values()][:3]), ipywidgets.HBox([own, *list(controls.values())[3:]]), picture]
    )
    box.view, box.controls, box.own = view, controls, own

    def show(_=None) -> None:
        chosen = {name: control.value for name, control in controls.items()}
        if own.value:
            chosen |= {"rotation": None, "scale": None}
        box.view = replace(view, **chosen)
        picture.value = figure_bytes(draw_explorer(atlas, box.view), "jpeg")

    show()
    for control in (*controls.values(), own):
        control.observe(show, "value")
    return box
