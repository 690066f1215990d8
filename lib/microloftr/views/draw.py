"""`python -m microloftr figures`: every diagram and figure of the vault, from one trace of the shipped weights.

Diagrams say the shapes of that trace; results/shapes.json holds the same numbers for the notes. The figures of what a
notebook or a table shows are drawn there (literate.attachments, microloftr.evaluation.report).
"""

import os
from collections.abc import Callable, Iterable
from dataclasses import asdict
from functools import cached_property
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from microloftr.data.fixed import fixed_pairs, split_atlas
from microloftr.data.levels import LEVELS
from microloftr.data.pairs import make_pairs
from microloftr.errors import MicroLoFTRError, ParameterError
from microloftr.images import as_image, read_planes
from microloftr.matching import Matcher, MatcherOptions
from microloftr.model.loftr import LoFTR
from microloftr.model.presets import COARSE_STRIDE, FINE_STRIDE, PRESETS, as_dict
from microloftr.model.weights import load_model, random_model, shipped
from microloftr.registration.transform import Transform
from microloftr.results import read_result, results_folder, write_result
from microloftr.search import LEAST_AGREEING
from microloftr.training.supervision import Truth, supervise
from microloftr.views import (
    change_figures,
    data_figures,
    diagrams,
    figures,
    matcher_figures,
    model_figures,
    sheet,
    turns,
)
from microloftr.views.case import Case, demo_case, parameters_of, shapes_of

OUT = Path("docs_obsidian/attachments")
LEVEL_INDEX = 2  # which fixed pair of each level is shown: the second of the stained sections
WORKED = ("hard", "extreme")  # levels of the pairs that the Matcher is shown at work on
TURNS, SHOWN_TURN = range(0, 360, 30), 150  # degrees
TWO_STAINS = "brightfield_ihc_colon_fhl2_1"  # brown and blue: its channels differ to the eye
SHAPES = "shapes"  # the record's name


class Material:
    """What the figures are drawn from, each made when first asked for."""

    def __init__(self, model: LoFTR, threshold: float | None = None) -> None:
        self.model = model
        self.threshold = model.config.threshold if threshold is None else threshold

    @cached_property
    def case(self) -> Case:
        return demo_case(self.model, self.threshold)

    @cached_property
    def truth(self) -> Truth:
        return supervise(self.case.batch)

    @cached_property
    def matcher(self) -> Matcher:
        return Matcher(self.model, MatcherOptions(threshold=self.threshold), device="cpu")

    @cached_property
    def matched(self) -> tuple[Any, Transform | None]:
        matches = self.matcher.match(self.case.image_0, self.case.image_1)
        return matches, matches.estimate()

    @cached_property
    def shapes(self) -> dict[str, list[int]]:
        """Of the trace, the truth, and a training batch."""
        atlas = split_atlas("validation")
        batch = make_pairs(atlas, "train", 0, np.arange(16), 144)
        m = int(batch.micrograph[0])
        truth = self.truth
        return shapes_of(self.case) | {
            "micrograph": [int(atlas.height[m, 0, 0]), int(atlas.width[m, 0, 0])],
            "images_0": list(batch.images_0.shape), "homography": list(batch.homography.shape),
            "true_points_1": list(truth.points_1.shape), "true_cells_1": list(truth.cells_1.shape),
            "unmatchable_0": list(truth.unmatchable_0.shape), "unmatchable_1": list(truth.unmatchable_1.shape),
        }  # fmt: skip


def supervision_shapes(material: Material) -> dict[str, list[int]]:
    """The shapes of the demo pair's truth, whose batch is one pair."""
    shapes = material.shapes
    homography = list(material.case.batch.homography.shape)
    return shapes | {"homography": homography, "points_1": shapes["true_points_1"]}


def draw_projections(_: Material) -> Figure:
    with as_file(files("microloftr.micrographs") / f"{TWO_STAINS}.jp2") as path:
        colour = read_planes(path).pixels
    options = {"grey (luma)": {}, "channel=0 (red)": {"channel": 0}, "channel=2 (blue)": {"channel": 2}}
    return data_figures.draw_images(colour, {title: as_image(colour, **given) for title, given in options.items()})


def draw_losses(material: Material) -> Figure:
    cells_1, log_confidence = material.truth.cells_1[0], material.case.trace.log_confidence[0]
    true = cells_1 >= 0
    values = log_confidence[true].gather(1, cells_1[true][:, None])[:, 0].numpy()
    return data_figures.draw_losses(values, float(np.log(log_confidence.shape).sum()))


def draw_turns(material: Material) -> Figure:
    without = Matcher(material.model, MatcherOptions(threshold=material.threshold, search=False), device="cpu")
    counts = turns.count_right(material.case, {"find, then match": material.matcher, "match as it is": without}, TURNS)
    turned, _ = turns.turned_to(material.case, SHOWN_TURN)
    return data_figures.draw_turns(list(TURNS), counts, material.case.image_0, turned, SHOWN_TURN)


def draw_levels(_: Material) -> Figure:
    return data_figures.draw_levels([fixed_pairs(name, limit=LEVEL_INDEX + 1) for name in LEVELS], LEVEL_INDEX)


def draw_work(material: Material) -> Figure:
    works = []
    for level in WORKED:
        pairs = fixed_pairs(level, limit=LEVEL_INDEX + 1)
        images = (as_image(part[LEVEL_INDEX]).pixels for part in (pairs.images_0, pairs.images_1))
        options = material.matcher.options
        sides = (options.quick_side, options.search_side)
        works.append(matcher_figures.worked(level, *images, material.matcher._all_points, sides))
    return matcher_figures.draw_work(works)


def draw_residuals(material: Material) -> Figure | None:
    matches, transform = material.matched
    return figures.draw_residuals(material.case.image_0, matches, transform) if transform else None


def draw_training(_: Material) -> Figure | None:
    """None before a training has left its record."""
    try:
        return data_figures.draw_training(read_result("training")["values"])
    except MicroLoFTRError:
        return None


DRAWN: dict[str, Callable[[Material], Figure | None]] = {
    "line_diagram": lambda m: diagrams.draw_line(m.shapes, m.model.config),
    "transformer_diagram": lambda m: diagrams.draw_transformer(m.shapes, m.model.config),
    "coarse_matching_diagram": lambda m: diagrams.draw_coarse_matching(m.shapes),
    "refinement_diagram": lambda m: diagrams.draw_refinement(m.shapes, m.model.config),
    "pairs_diagram": lambda m: diagrams.draw_pairs(m.shapes),
    "supervision_diagram": lambda m: diagrams.draw_supervision(supervision_shapes(m)),
    "matcher_diagram": lambda m: diagrams.draw_matcher(turns.network_calls(m.case, m.matcher), m.shapes),
    "images": draw_projections,
    "frame": lambda m: data_figures.draw_frame(m.case.image_0),
    "levels": draw_levels,
    "appearance_changes": lambda _: change_figures.draw_changes(change_figures.examples(split_atlas("train"))),
    "backbone": lambda m: model_figures.draw_backbone(m.case),
    "transformer": lambda m: model_figures.draw_transformer(m.case),
    "coarse_matching": lambda m: model_figures.draw_coarse_matching(m.case),
    "refinement": lambda m: model_figures.draw_refinement(m.case),
    "supervision": lambda m: data_figures.draw_supervision(m.case, m.truth),
    "losses": draw_losses,
    "training": draw_training,
    "matches": lambda m: figures.draw_matches(m.case.image_0, m.case.image_1, *m.matched),
    "turns": draw_turns,
    "residuals": draw_residuals,
    "matcher_at_work": draw_work,
    "parameters": lambda m: data_figures.draw_parameters(parameters_of(m.model)),
}


def draw_all(material: Material, folder: Path, names: Iterable[str], say: Callable[[str], None] = print) -> list[Path]:
    """Draw the figures `names` of DRAWN into `folder` and return their paths; says what there is nothing to draw of."""
    written = []
    for name in names:
        figure = DRAWN[name](material)
        if figure is None:
            say(f"{name}: nothing to draw yet")
            continue
        path = folder / f"{name}.png"
        figures.save_figure(figure, path)
        written.append(path)
        say(f"{path}: {path.stat().st_size // 1024} KiB")
    return written


def write_shapes(material: Material, folder: Path | None = None) -> Path:
    """results/shapes.json: the shapes of the trace and the parameters of every part, by preset."""
    preset = material.model.config.preset
    traced = {name: {"shape": shape} for name, shape in material.shapes.items()}
    traced |= {"matches": material.shapes["points_1"][0], "parameters": parameters_of(material.model)}
    traced["config"] = as_dict(material.model.config)
    truth, (matches, _) = material.truth, material.matched
    values = {
        preset: traced,
        **{other: _shapes_untrained(other) for other in PRESETS if other != preset},
        "truth": {
            "matched": int((truth.cells_1 >= 0).sum()),
            "unmatchable_0": int(truth.unmatchable_0.sum()),
            "unmatchable_1": int(truth.unmatchable_1.sum()),
        },
        "matcher": {**asdict(material.matcher.options), "agreeing": LEAST_AGREEING, "matches": len(matches)},
        "stride": {"coarse": COARSE_STRIDE, "fine": FINE_STRIDE},
    }
    return write_result(SHAPES, values, command="python -m microloftr figures", seed=0, folder=folder)


def _shapes_untrained(preset: str) -> dict[str, Any]:
    """The same of a preset with random weights, whose number of matches says nothing."""
    model = random_model(preset)
    traced = {name: {"shape": shape} for name, shape in shapes_of(demo_case(model, 0.0)).items()}
    return {**traced, "parameters": parameters_of(model), "config": as_dict(model.config)}


def main(argv: list[str]) -> int:
    """Command line."""
    parser = sheet.Parser(prog="python -m microloftr figures", description="Diagrams and figures of the vault.")
    parser.add_argument("--weights", default="micro", help="shipped weights by name, or a .safetensors file")
    parser.add_argument("--only", default="", metavar="NAME,…", help=f"some of {', '.join(DRAWN)}, {SHAPES}")
    parser.add_argument("--out", type=Path, default=None, help=f"folder of the pictures ({OUT})")
    parser.add_argument("--results", type=Path, default=None, help=f"folder of {SHAPES}.json (results)")
    options = parser.parse_args(argv)
    names = [name.strip() for name in options.only.split(",") if name.strip()] or [*DRAWN, SHAPES]
    if unknown := [name for name in names if name not in (*DRAWN, SHAPES)]:
        raise ParameterError(f"There is no figure {unknown[0]!r}; there are {', '.join(DRAWN)} and {SHAPES}.")
    path = options.weights if options.weights.endswith(".safetensors") else shipped(options.weights)
    material = Material(load_model(path))
    try:
        draw_all(material, options.out or results_folder().parent / OUT, [name for name in names if name in DRAWN])
        if SHAPES in names:
            print(write_shapes(material, options.results))
    except OSError as error:
        reason = f"{error.strerror or error}"
        raise ParameterError(f"{error.filename or os.curdir} cannot be written: {reason}.") from None
    return 0
