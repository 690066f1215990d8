"""Open the pairs behind a table: choose a group, a modality, a stage and a number, click worst, median or best.

`draw_explorer` draws one view as a Figure, the widget's static twin; `explore` is the widget. Rows are what was scored,
one of each pair and stage; `open_row` makes the pair of one of them again.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from matplotlib.figure import Figure

from microloftr.errors import ParameterError
from microloftr.views.figures import figure_bytes
from microloftr.views.inspect_figures import WHICH, WORDS, Opened, draw_opened, pick

NUMBERS = {
    "error_px": "error of the transform",
    "precision_3": "share of matches to 3 px",
    "median_offset": "median offset",
    "recall": "recall of true cells",
    "exact": "share in the true cell",
    "matches": "number of matches",
}


@dataclass(frozen=True)
class View:
    """What is shown: which pair of a group's rows, by which of their numbers, and the stage whose points are drawn."""

    which: str = "worst"
    group: str = "all"
    stage: str = "final"
    by: str = "error_px"
    modality: str = "all"


def chosen(rows: Sequence[Any], view: View) -> Any:
    """The row of a view. Raises ParameterError for a view that there is not."""
    return pick(rows, view.which, by=view.by, stage=view.stage, group=view.group, modality=view.modality)


def draw_explorer(rows: Sequence[Any], open_row: Callable[[Any], Opened], view: View) -> Figure:
    """The pair of a view. Raises ParameterError for a view that there is not."""
    row = chosen(rows, view)
    pair = open_row(row)
    words = pair.error if view.by == "error_px" else NUMBERS.get(view.by, view.by)
    return draw_opened(pair, view.stage, f"{view.which} by {words} ({getattr(row, view.by):.3g})")


def explore(rows: Sequence[Any], open_row: Callable[[Any], Opened], view: View):
    """The widget: three choices, a number, and three buttons. Pairs that were opened once are kept.

    Returns an ipywidgets VBox with the attributes `view` (what is shown now), `controls` and `message` (why the picture
    stays: no pair of a group is of every modality).
    """
    import ipywidgets  # here, so that a picture alone needs no widgets

    kept: dict[str, Opened] = {}

    def once(row: Any) -> Opened:
        if row.id not in kept:
            kept[row.id] = open_row(row)
        return kept[row.id]

    known = list(dict.fromkeys(row.stage for row in rows))
    stages = [(WORDS.get(stage, stage), stage) for stage in known]
    numbers = [(words, name) for name, words in NUMBERS.items() if hasattr(rows[0], name)]
    modalities = [name for name in dict.fromkeys(getattr(row, "modality", "") for row in rows) if name]
    picture, message = ipywidgets.Image(format="jpeg"), ipywidgets.Label()
    controls = {
        "which": ipywidgets.ToggleButtons(options=WHICH, value=view.which),
        "group": ipywidgets.Dropdown(
            options=["all", *dict.fromkeys(row.group for row in rows)], value=view.group, description="group"
        ),
        "modality": ipywidgets.Dropdown(
            options=[("all", "all"), *((name.replace("_", " "), name) for name in modalities)],
            value=view.modality,
            description="modality",
        ),
        "stage": ipywidgets.Dropdown(options=stages, value=view.stage, description="stage"),
        "by": ipywidgets.Dropdown(options=numbers, value=view.by, description="by"),
    }
    box = ipywidgets.VBox([controls["which"], ipywidgets.HBox([*controls.values()][1:]), message, picture])
    box.view, box.controls, box.message = view, controls, message

    def show(_=None) -> None:
        asked = replace(view, **{name: control.value for name, control in controls.items()})
        try:
            picture.value = figure_bytes(draw_explorer(rows, once, asked), "jpeg")
        except ParameterError as error:
            message.value = str(error)
            return
        box.view, message.value = asked, ""

    show()
    for control in controls.values():
        control.observe(show, "value")
    return box


def explore_tables(tables: Mapping[str, Callable[[], Any]]):
    """The widget of several tables: a list of their names, and the chosen one's explorer below it.

    tables: by name what makes `rows` and `open`, asked for when a table is chosen first. Returns an ipywidgets VBox
    with the attribute `choice`.
    """
    import ipywidgets

    made: dict[str, Any] = {}
    choice = ipywidgets.Dropdown(options=list(tables), description="row")
    box = ipywidgets.VBox([choice])
    box.choice = choice

    def show(_=None) -> None:
        name = choice.value
        if name not in made:
            table = tables[name]()
            made[name] = explore(table.rows, table.open, View(stage=table.rows[0].stage))
        box.children = (choice, made[name])

    show()
    choice.observe(show, "value")
    return box
