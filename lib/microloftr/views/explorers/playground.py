"""Choose two images, what happens to the second one and how they are matched; see matches, overlay and verdict.

`draw_explorer` draws one view as a Figure, the widget's static twin; `explore` is the widget.
"""

import math
from dataclasses import dataclass, field, replace

from matplotlib.figure import Figure

from microloftr.data.levels import LEVELS
from microloftr.matches import Matches
from microloftr.views.figures import figure_bytes
from microloftr.views.playground_figures import draw_play
from microloftr.views.playground_pairs import Pair, Scene, Source
from microloftr.views.playground_study import STEPS, Rules, judge, matcher_of, plain

PHOTONS = (math.inf, 3000.0, 1000.0, 300.0, 100.0, 60.0, 30.0, 15.0, 8.0, 4.0, 2.0, 1.0)
CONFIDENCES = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95)
REMEMBERED = 64  # pairs, and matches, that are not made again
MOST_PLACES = 20


@dataclass(frozen=True)
class View:
    """What is shown: the pair and what is done to it, and how it is matched."""

    scene: Scene = field(default_factory=Scene)
    rules: Rules = field(default_factory=Rules)


class Table:
    """A source with its pairs and matches remembered: a rule that only sorts matches need not match again."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._pairs: dict[Scene, Pair] = {}
        self._matches: dict[tuple[Scene, str], Matches] = {}

    def draw(self, view: View) -> Figure:
        """The figure of a view."""
        pair = _remembered(self._pairs, view.scene, lambda: self.source.make(view.scene))
        matcher = matcher_of(view.rules.steps)
        key = view.scene, view.rules.steps
        matches = _remembered(self._matches, key, lambda: matcher.match(pair.image_0, pair.image_1))
        return draw_play(pair, judge(pair, matches, view.rules), view.rules)


def draw_explorer(source: Source, view: View) -> Figure:
    """One view as a Figure. Raises ParameterError for a scene or rules that cannot be."""
    return Table(source).draw(view)


def explore(source: Source, view: View):
    """The widget: a picture that follows every control.

    A level, a micrograph or a place that is chosen sets the other controls to what the level draws there.
    Returns an ipywidgets VBox with the attributes `view` (what is shown now), `controls` and `rules`, by name.
    """
    import ipywidgets  # here, so that a picture alone needs no widgets

    table, picture = Table(source), ipywidgets.Image(format="jpeg")
    slider = {"continuous_update": False, "style": {"description_width": "90px"}}
    pick = {"style": {"description_width": "90px"}}
    names = [(name, k) for k, name in enumerate(source.names)]
    controls = {
        "micrograph": ipywidgets.Dropdown(options=names, description="micrograph", **pick),
        "place": ipywidgets.IntSlider(0, 0, MOST_PLACES, description="place", **slider),
        "level": ipywidgets.Dropdown(options=list(LEVELS), description="level", **pick),
        "rotation": ipywidgets.IntSlider(0, -180, 180, description="turn, °", **slider),
        "scale": ipywidgets.FloatSlider(1, min=0.25, max=4, step=0.05, description="scale", **slider),
        "overlap": ipywidgets.FloatSlider(0.5, min=0.05, max=1, step=0.05, description="overlap", **slider),
        "contrast": ipywidgets.FloatSlider(1, min=-1, max=1, step=0.05, description="contrast", **slider),
        "photons": ipywidgets.SelectionSlider(
            options=[(plain(n), n) for n in PHOTONS], description="photons", **slider
        ),
    }
    rules = {
        "steps": ipywidgets.Dropdown(options=list(STEPS), description="steps", **pick),
        "confidence": ipywidgets.SelectionSlider(
            options=sorted({*CONFIDENCES, view.rules.confidence}), description="confidence", **slider
        ),
        "tolerance": ipywidgets.FloatSlider(2, min=0.25, max=20, step=0.25, description="tolerance", **slider),
    }
    for name in () if source.free else ("place", "level", "overlap"):
        controls[name].disabled = True
    rows = [list(controls.values())[:3], list(controls.values())[3:6], [*list(controls.values())[6:], rules["steps"]]]
    rows.append([rules["confidence"], rules["tolerance"]])
    box = ipywidgets.VBox([*(ipywidgets.HBox(row) for row in rows), picture])
    box.view, box.controls, box.rules = view, controls, rules
    setting = []  # while the controls are set by the widget itself, nothing is drawn

    def put(now: View) -> None:
        setting.append(True)
        filled = source.filled(now.scene)
        for name, control in controls.items():
            wanted = getattr(filled, name)
            if name == "photons":
                wanted = min(PHOTONS, key=lambda n: abs(1 / n - 1 / wanted))
            elif name == "rotation":
                wanted = round(wanted)
            elif name in ("scale", "overlap", "contrast") and wanted is not None:
                wanted = round(min(max(wanted, control.min), control.max) * 20) / 20
            if wanted is not None:
                control.value = wanted
        for name, control in rules.items():
            control.value = getattr(now.rules, name)
        setting.clear()

    def show() -> None:
        picture.value = figure_bytes(table.draw(box.view), "jpeg")

    def moved(name: str) -> None:
        if setting:
            return
        if name in ("micrograph", "place", "level"):
            fresh = {name: controls[name].value for name in ("micrograph", "place", "level")}
            put(View(Scene(**fresh), box.view.rules))
        chosen = {name: control.value for name, control in controls.items() if not control.disabled}
        box.view = View(replace(box.view.scene, **chosen), Rules(**{name: c.value for name, c in rules.items()}))
        show()

    put(view)
    show()
    for name, control in (*controls.items(), *rules.items()):
        control.observe(lambda _, name=name: moved(name), "value")
    return box


def _remembered(kept: dict, key, make):
    """kept[key], made where it is not there; the oldest goes when there are too many."""
    if key not in kept:
        while len(kept) >= REMEMBERED:
            del kept[next(iter(kept))]
        kept[key] = make()
    return kept[key]
