"""The vault's pictures say what the trace says; its map and canvas are whole."""

import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.patches import FancyBboxPatch
from PIL import Image as PillowImage

from microloftr.__main__ import main
from microloftr.data.atlas import build_atlas
from microloftr.data.micrographs import Micrograph
from microloftr.data.pairs import make_pairs
from microloftr.errors import ParameterError
from microloftr.evaluation.metrics import auc
from microloftr.images import Image
from microloftr.matches import Matches
from microloftr.matching import Matcher, MatcherOptions
from microloftr.model.weights import random_model
from microloftr.registration.families import move_points
from microloftr.registration.transform import Transform
from microloftr.results import read_result
from microloftr.training.supervision import supervise
from microloftr.views import boxes, data_figures, diagrams, draw, model_figures, sheet, turns
from microloftr.views.case import Case, parameters_of, shapes_of, trace_case

ROOT = Path(__file__).resolve().parents[1]
VAULT = ROOT / "docs_obsidian"
SHIFT = np.array([[1.0, 0, -16.25], [0, 1, 8.5], [0, 0, 1]])


def texture(height: int, width: int, seed: int) -> np.ndarray:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 1, height // 8, width // 8, generator=generator)
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)[0, 0].numpy()


def make_case(height: int = 80, width: int = 96) -> Case:
    pixels = texture(height, width, 0)
    moved = np.ascontiguousarray(np.roll(pixels, (8, -16), (0, 1))[:, : width - 8])
    return trace_case(random_model("micro"), Image(pixels, None, "a"), Image(moved, None, "b"), SHIFT, threshold=0.0)


@pytest.fixture(scope="module")
def case() -> Case:
    return make_case()


@pytest.fixture(scope="module")
def atlas():
    made = [(texture(480, 512, seed) * 255).astype(np.uint8) for seed in (1, 2)]
    return build_atlas([Micrograph(f"m{k}", "train", f"s{k}", "sem_bse", pixels) for k, pixels in enumerate(made)])


@pytest.fixture
def material(case, atlas, monkeypatch):
    """What the command draws from, in small."""
    monkeypatch.setattr(draw, "split_atlas", lambda split: atlas)
    monkeypatch.setattr(draw, "demo_case", lambda model, threshold: trace_case(
        model, case.image_0, case.image_1, SHIFT, threshold))  # fmt: skip
    monkeypatch.setattr(draw, "TURNS", (0, 90))
    return draw.Material(case.model, threshold=0.0)


def texts(figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


# --- diagrams

DIAGRAMS = [name for name in draw.DRAWN if name.endswith("_diagram")]


def test_diagrams_say_the_shapes_of_the_trace(case):
    trace, config = case.trace, case.model.config
    encoded, found = trace.encoded, trace.coarse_matches
    count = len(found.cells_0)
    shapes = shapes_of(case)
    assert count > 3 and encoded.coarse_0.shape != encoded.coarse_1.shape
    expected = {
        diagrams.draw_line(shapes, config): [encoded.pyramid_0.half, encoded.pyramid_0.quarter, encoded.coarse_0,
                                             encoded.fine_0, found.cells_0, trace.matches.points_1],
        diagrams.draw_transformer(shapes, config): [encoded.coarse_0, encoded.coarse_1],
        diagrams.draw_coarse_matching(shapes): [encoded.coarse_1, trace.log_confidence, found.cells_0],
        diagrams.draw_refinement(shapes, config): [encoded.fine_0, trace.refined.log_heat, trace.refined.offset],
    }  # fmt: skip
    for figure, tensors in expected.items():
        said = texts(figure)
        for tensor in tensors:
            assert " × ".join(map(str, tensor.shape)) in said
    flat = f"1 × {trace.log_confidence.shape[2]} × {config.dim}"
    assert flat in texts(diagrams.draw_transformer(shapes, config))
    other = texts(diagrams.draw_line(shapes_of(make_case(64, 72)), config))
    assert " × ".join(map(str, encoded.coarse_0.shape)) not in other  # nothing of it is typed


@pytest.mark.parametrize("name", DIAGRAMS)
def test_texts_lie_in_their_boxes_and_boxes_apart(material, name):
    figure = draw.DRAWN[name](material)
    assert crowded(figure) == []


def crowded(figure) -> list[str]:
    """Texts beyond the picture or across the edge of a box, and boxes that touch."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    (axes,) = figure.axes
    frames = [patch.get_window_extent() for patch in axes.patches if isinstance(patch, FancyBboxPatch)]
    found = []
    for text in axes.texts:
        extent = text.get_window_extent(canvas.get_renderer())
        inside = [frame for frame in frames if frame.containsx(extent.x0) and frame.containsx(extent.x1)
                  and frame.containsy(extent.y0) and frame.containsy(extent.y1)]  # fmt: skip
        if not inside and any(frame.overlaps(extent) for frame in frames):
            found.append(f"{text.get_text()} crosses a box")
        if not (extent.x0 >= 0 and extent.y0 >= 0 and extent.x1 <= figure.bbox.x1 and extent.y1 <= figure.bbox.y1):
            found.append(f"{text.get_text()} leaves the picture")
    found += [
        f"boxes {i} and {j} touch" for i, a in enumerate(frames) for j, b in enumerate(frames[:i]) if a.overlaps(b)
    ]
    return found


def test_crowding_is_found():
    one, two = boxes.Box("a", 2, 1, "a title that is much too long", wide=1.0), boxes.Box("b", 2.4, 1, "b")
    found = crowded(boxes.draw_boxes([one, two], [boxes.Arrow("a", "b")], 2.0, [(9.9, 1.9, "a long note")]))
    assert {line.split()[-1] for line in found} == {"box", "picture", "touch"}


# --- figures of the model


def test_features_of_the_same_image_have_the_same_colours(case):
    pyramid = case.trace.encoded.pyramid_0
    first, second = model_figures.principal_colours([pyramid.eighth[0], pyramid.eighth[0]])
    assert first.shape == (10, 12, 3) and first.dtype == np.uint8 and np.array_equal(first, second)
    figure = model_figures.draw_backbone(case)
    sizes = [axes.images[0].get_array().shape[:2] for axes in figure.axes]
    assert sizes == [(80, 96), (40, 48), (20, 24), (10, 12), (80, 88), (40, 44), (20, 22), (10, 11)]


def test_the_ring_marks_the_truth_and_the_cell_has_cosine_one_with_itself(case):
    cell = case.centre_of_overlap()
    point = model_figures.cell_point(case, cell)
    assert (case.true_points(point[None]) >= 0).all() and np.allclose(point % 8, 0)
    figure = model_figures.draw_transformer(case)
    for axes in figure.axes[1:3]:
        np.testing.assert_allclose(np.ravel(axes.lines[0].get_data()), point + [-16.25, 8.5])
    maps = model_figures.cosine_map(case.trace.encoded.coarse_0, case.trace.encoded.coarse_0, cell)
    assert maps.argmax() == cell and maps.max() == pytest.approx(1, abs=1e-5)


def test_confidences_are_drawn_as_they_are(case):
    cell = case.centre_of_overlap()
    log = case.trace.log_confidence[0].numpy() / np.log(10)
    figure = model_figures.draw_coarse_matching(case)
    _, row, best, whole = (axes.images[0].get_array() for axes in figure.axes[:4])
    np.testing.assert_allclose(row.ravel(), log[cell], rtol=1e-5)
    np.testing.assert_allclose(best.ravel(), log.max(1), rtol=1e-5)
    np.testing.assert_allclose(whole, log, rtol=1e-5)  # small enough to be shown as it is
    joined = model_figures.coarsened(np.arange(12.0).reshape(2, 6), 2, 3, most=2)
    np.testing.assert_allclose(joined, [[2, 5], [8, 11]])


def test_windows_show_the_truth_and_the_histogram_all_matches(case):
    figure = model_figures.draw_refinement(case, examples=(1.0,))
    _, below, histogram = figure.axes
    matches = case.trace.matches
    surest = int(np.argsort(-matches.confidence.numpy(), kind="stable")[0])
    drawn = np.array([np.ravel(line.get_data()) for line in below.lines])
    truth = case.true_points(matches.points_0.numpy().astype(float))
    np.testing.assert_allclose(drawn[1], truth[surest], rtol=1e-6)
    np.testing.assert_allclose(drawn[2], matches.points_1[surest].numpy(), rtol=1e-6)
    error = np.hypot(*(matches.points_1.numpy() - truth).T)
    assert histogram.get_title() == f"all {len(error)} matches"
    assert f"median {np.median(error):.2f} px" in histogram.get_legend().texts[1].get_text()
    assert sum(bar.get_height() for bar in histogram.patches) == 2 * len(error)


def test_a_trace_without_a_match_is_drawn_too(case):
    nothing = trace_case(case.model, case.image_0, case.image_1, SHIFT, threshold=0.999)
    assert model_figures.draw_refinement(nothing).axes[-1].get_title() == "all 0 matches"
    assert "0 × 2" in texts(diagrams.draw_line(shapes_of(nothing), case.model.config))


# --- figures of what stands around the model


def test_matched_cells_have_one_colour_in_both_images(case):
    truth = supervise(case.batch)
    figure = data_figures.draw_supervision(case, truth)
    tints = [axes.images[1].get_array().reshape(-1, 4) for axes in figure.axes]
    cells_0 = np.flatnonzero(truth.cells_1[0] >= 0)
    np.testing.assert_allclose(tints[0][cells_0], tints[1][truth.cells_1[0][cells_0]])
    assert (tints[1][truth.unmatchable_1[0].numpy()][:, :3] == data_figures.UNMATCHABLE).all()
    for tint, axes, unmatchable in zip(tints, figure.axes, (truth.unmatchable_0, truth.unmatchable_1), strict=True):
        said = [int(number) for number in re.findall(r"(\d+) (?:match|cannot|neither)", axes.get_title())]
        assert said == [len(cells_0), int(unmatchable.sum()), int((tint[:, 3] == 0).sum())]
    hues = data_figures.place_colours((10, 12))
    assert len(np.unique(hues.round(3), axis=0)) == 120


def test_curves_and_bars_are_the_numbers(case):
    run = {"steps": [10, 20], "coarse": [3.0, 2.0], "accuracy": [0.3, 0.5]}
    figure = data_figures.draw_training(run | {"validation": {"hard": run}})
    for axes, name in zip(figure.axes, ("coarse", "accuracy"), strict=True):
        for line in axes.lines:
            assert line.get_xdata().tolist() == [10, 20] and list(line.get_ydata()) == run[name]
    assert [text.get_text() for text in figure.legends[0].texts] == ["training", "hard"]
    losses = data_figures.draw_losses(np.array([-2.0, -4.0]), 7.5)
    assert losses.axes[1].lines[0].get_xdata()[0] == 7.5 and losses.axes[1].lines[1].get_xdata()[0] == 3.0
    parts = parameters_of(case.model)
    assert parts.pop("total") == sum(parts.values()) == sum(p.numel() for p in case.model.parameters())
    bars = data_figures.draw_parameters(parts | {"total": sum(parts.values())}).axes[0]
    assert [bar.get_width() * 1000 for bar in bars.patches] == pytest.approx(list(parts.values()))


def test_cells_of_the_frame_are_where_geometry_says():
    figure = data_figures.draw_frame(Image(texture(80, 100, 3), None, "a"))
    left, right = figure.axes
    assert left.lines[-1].get_xydata().tolist() == [[x, y] for y in (0, 8, 16) for x in (0, 8, 16)]
    assert right.get_title() == "100 × 80 px: 13 × 10 cells" and len(right.lines) == 23
    assert right.lines[1].get_xdata()[0] == 4


def test_turning_is_exact_by_quarters_and_points_follow(case):
    pixels = case.image_1.pixels
    turned, matrix = turns.turn_image(pixels, 90)
    np.testing.assert_allclose(turned, np.rot90(pixels, -1), atol=1e-4)  # clockwise
    np.testing.assert_allclose(move_points(np.array([[0.0, 0.0]]), matrix), [[pixels.shape[0] - 1, 0]], atol=1e-9)
    _, matrix = turns.turned_to(case, 30)
    sizes = case.image_0.pixels.shape[::-1], case.image_1.pixels.shape[::-1]
    assert Transform(matrix @ case.homography, "homography", *sizes).rotation_deg == pytest.approx(30)


def test_only_matches_near_the_truth_are_counted(case):
    class Fixed:
        """Says the same whatever it sees: right where image_1 is not turned."""

        def match(self, image_0, image_1):
            points = np.array([[30.0, 20.0], [40.0, 20.0], [40.0, 40.0]])
            size_1 = image_1.pixels.shape[::-1]
            return Matches(
                points, points + [[-16.25, 8.5], [-16.25, 11.4], [-16.25, 11.6]], np.ones(3), (96, 80), size_1
            )

    assert turns.count_right(case, {"fixed": Fixed()}, (0, 180)) == {"fixed": [2, 0]}


def test_calls_of_the_network_are_seen_and_the_hook_is_gone(case):
    matcher = Matcher(case.model, MatcherOptions(quick_side=64, search_side=64), device="cpu")
    calls = turns.network_calls(case, matcher)
    assert [one for one, _ in calls][:4] == [[1, 1, 53, 64]] * 4  # untrained: no turn is supported, so all are tried
    assert [two[-2:] for _, two in calls[:4]] == [[58, 64]] * 2 + [[64, 58]] * 2
    assert not case.model._forward_pre_hooks
    said = texts(diagrams.draw_matcher(calls[:4], shapes_of(case)))
    assert "53 × 64" in said and "58 × 64 and 64 × 58" in said and "here 4 times" in said
    assert "here once" in texts(diagrams.draw_matcher(calls[:1], shapes_of(case)))


# --- the sheet


def test_a_sheet_shows_the_crops_side_by_side(atlas):
    batch = make_pairs(atlas, "medium", 0, np.arange(4), 64)
    labels = sheet.labels_of(batch, atlas)
    pixels = sheet.make_sheet(batch, labels, 64)
    side, strip, gap, seam = 64, sheet.STRIP, sheet.GAP, sheet.SEAM
    width = 3 * side + 2 * seam
    assert pixels.shape == (strip + gap + 2 * (side + strip + gap), 3 * (width + gap) - gap, 3)
    top, left = strip + gap + side + strip + gap + strip, 0  # pair 3 begins the second row
    for k, images in enumerate((batch.images_0, batch.images_1)):
        shown = pixels[top : top + side, left + k * (side + seam) : left + k * (side + seam) + side]
        np.testing.assert_array_equal(shown[..., 0], np.rint(images[3, 0].numpy() * 255))
        assert (shown[..., :1] == shown).all()
    assert (pixels[:strip] == 255).all(2).mean() < 0.98  # the legend is written
    angle = Transform(batch.homography[0].numpy(), "homography", (64, 64), (64, 64)).rotation_deg
    assert labels[0].startswith("sem bse") and f"{round(angle)}°".replace("-", "−") in labels[0]
    assert f"shared {float(batch.overlap[0]):.0%}" in labels[0]


def test_a_sheet_fits_carries_no_remarks_and_is_the_same_every_time(atlas, tmp_path, monkeypatch):
    monkeypatch.setattr(sheet, "split_atlas", lambda split: atlas)
    paths = [tmp_path / "new" / f"{k}.png" for k in "ab"]
    for path in paths:
        assert main(["sheet", "--mixture", "hard", "--count", "2", "--size", "48", "--out", str(path)]) == 0
    first, second = (path.read_bytes() for path in paths)
    assert first == second and not set(PillowImage.open(io.BytesIO(first)).info) & {"Software", "date", "Creation Time"}
    batch = make_pairs(atlas, "hard", 0, np.arange(2), 48)
    whole = sheet.fitting(batch, ["", ""])
    smaller = sheet.fitting(batch, ["", ""], largest=len(whole) - 1)
    assert len(smaller) < len(whole) and PillowImage.open(io.BytesIO(smaller)).width < PillowImage.open(paths[0]).width
    with pytest.raises(ParameterError, match="fewer with --count"):
        sheet.fitting(batch, ["", ""], largest=100)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["sheet", "--mixture", "no"], "must be one of train, first"),
        (["sheet", "--count", "0"], "--count is 0"),
        (["sheet", "--count", "x"], "invalid int value"),
        (["sheet", "--size", "9"], "--size is 9"),
        (["sheet", "--seed", "-1"], "--seed is -1"),
        (["sheet", "--out", "a.jpg"], "must end in .png"),
        (["figures", "--only", "zip"], "no figure 'zip'"),
        (["figures", "--weights", "mikro"], "no weights named 'mikro'"),
    ],
)
def test_bad_values_are_one_clear_line(arguments, said, capsys):
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and said in err and err.startswith("error: ") and err.count("\n") == 1


# --- the command


def test_every_figure_is_drawn_small_and_without_remarks(material, tmp_path, monkeypatch):
    monkeypatch.setattr(
        draw, "read_result", lambda name: {"values": {"steps": [1], "coarse": [9.0], "accuracy": [0.1]}}
    )
    elsewhere = (*DIAGRAMS[1:], "levels", "appearance_changes")  # drawn by other tests, of other micrographs
    names = [name for name in draw.DRAWN if name not in elsewhere]
    paths = draw.draw_all(material, tmp_path, names, say=(said := []).append)
    assert [path.stem for path in paths] == names and len(said) == len(names)
    for path in paths:
        picture = PillowImage.open(path)
        assert picture.format == "PNG" and picture.width in (1000, 1500) and set(picture.info) <= {"dpi"}
    pairs = texts(draw.DRAWN["pairs_diagram"](material))
    assert "16 × 1 × 144 × 144" in pairs and "480 × 512" in pairs
    truth = texts(draw.DRAWN["supervision_diagram"](material))
    assert "1 × 120 × 2" in truth and "1 × 120" in truth


def test_what_is_not_there_yet_is_said_and_not_drawn(material, tmp_path, monkeypatch):
    monkeypatch.setattr(draw, "read_result", lambda name: read_result(name, tmp_path))
    material.__dict__["matched"] = (None, None)  # no transform
    assert draw.draw_all(material, tmp_path / "out", ["training", "residuals"], say=(said := []).append) == []
    assert said == ["training: nothing to draw yet", "residuals: nothing to draw yet"]
    assert not (tmp_path / "out").exists()


def test_levels_show_the_same_micrograph_four_times(monkeypatch):
    class Fake:
        images_0 = images_1 = np.zeros((3, 32, 32), np.uint8)
        homography, overlap = np.tile(np.eye(3), (3, 1, 1)), np.array([0.1, 0.2, 0.3])

        def __init__(self, level: str, limit: int) -> None:
            self.level, self.limit = level, limit

    monkeypatch.setattr(draw, "fixed_pairs", Fake)
    figure = draw.draw_levels(None)
    titles = [axes.get_title() for axes in figure.axes]
    assert titles[:8] == ["easy", "medium", "hard", "extreme", *["30% shared"] * 4]


def test_the_record_holds_shapes_and_parameters(material, tmp_path):
    record = json.loads(draw.write_shapes(material, tmp_path).read_text())["values"]
    assert record["micro"]["coarse_0"]["shape"] == list(material.case.trace.encoded.coarse_0.shape)
    assert record["micro"]["parameters"] == parameters_of(material.model)
    assert record["micro"]["matches"] == record["micro"]["points_1"]["shape"][0]
    assert "fine_0" not in record["one_conv"] and record["one_conv"]["config"]["layers"] == 0
    assert record["truth"]["matched"] == int((material.truth.cells_1 >= 0).sum())


# --- map, notes, canvas


def missing_from_map(text: str) -> list[str]:
    """Modules of the library that the map does not link exactly once."""
    modules = [path for package in ("microloftr", "literate") for path in (ROOT / "lib" / package).rglob("*.py")]
    names = [path.relative_to(ROOT / "lib").as_posix() for path in modules]
    wanted = [name for name in names if not name.endswith("__init__.py") or name == "microloftr/__init__.py"]
    links = re.findall(r"\]\(\.\./\.\./lib/([^)]+\.py)\)", text)
    return sorted(name for name in {*wanted, *links} if links.count(name) != 1 or name not in wanted)


def test_the_map_names_every_module_notebook_and_note_once():
    text = (VAULT / "reference" / "map.md").read_text(encoding="utf-8")
    assert missing_from_map(text) == []
    assert missing_from_map(text.replace("lib/microloftr/model/loftr.py", "lib/microloftr/model/left.py")) == [
        "microloftr/model/left.py", "microloftr/model/loftr.py",
    ]  # fmt: skip
    assert missing_from_map(text + "[again](../../lib/microloftr/files.py)") == ["microloftr/files.py"]
    named = {Path(link).name for link in re.findall(r"\]\(([^)]+)\)", text)}
    notebooks = [path.name for path in (ROOT / "notebooks").glob("[0-9]*.py")]
    notes = [path.name for path in (VAULT / "components").glob("*.md")]
    assert notebooks and len(notes) == 18 and {*notebooks, *notes} <= named | {"coarse-matching.md"}


def test_component_notes_name_their_source_and_show_a_picture():
    for note in sorted((VAULT / "components").glob("*.md")):
        text = note.read_text(encoding="utf-8")
        front = yaml.safe_load(text.split("---")[1])
        assert front["type"] == "component" and (ROOT / front["source"]).is_file(), note
        assert "](../attachments/" in text and ("_diagram.png" in text or "```mermaid" in text), note
        assert "## Limits" in text, note


def test_every_figure_of_the_command_stands_in_a_note():
    written = "".join(path.read_text(encoding="utf-8") for path in VAULT.rglob("*.md"))
    assert [name for name in [*draw.DRAWN, sheet.OUT.stem] if f"attachments/{name}.png)" not in written] == []


def test_attachments_are_within_their_budget_and_carry_no_remarks():
    pictures = sorted((VAULT / "attachments").glob("*.png"))
    assert sum(path.stat().st_size for path in pictures) < 8 * 2**20 and len(pictures) > 15
    for path in pictures:
        assert not set(PillowImage.open(path).info) & {"Software", "date", "Creation Time", "exif"}, path


SIDES = {"top", "right", "bottom", "left"}


def canvas_faults(canvas: dict) -> list[str]:
    """What JSON Canvas 1.0 does not allow, and files that are not there."""
    faults, seen = [], set()
    for node in canvas["nodes"]:
        needed = {"text": "text", "file": "file", "link": "url", "group": "label"}.get(node.get("type"))
        if needed is None or not isinstance(node.get(needed), str):
            faults.append(f"node {node.get('id')} has no {needed or 'known type'}")
        elif not all(isinstance(node.get(key), int) for key in ("x", "y", "width", "height")):
            faults.append(f"node {node['id']} has no place")
        elif needed == "file" and not (VAULT / node["file"]).is_file():
            faults.append(f"there is no {node['file']}")
        if node.get("id") in seen:
            faults.append(f"two nodes are {node['id']}")
        seen.add(node.get("id"))
    for edge in canvas["edges"]:
        if not {edge.get("fromNode"), edge.get("toNode")} <= seen:
            faults.append(f"edge {edge.get('id')} leads nowhere")
        if not {edge.get("fromSide", "top"), edge.get("toSide", "top")} <= SIDES:
            faults.append(f"edge {edge.get('id')} has no such side")
    identifiers = [edge.get("id") for edge in canvas["edges"]]
    faults += [f"two edges are {name}" for name in set(identifiers) if identifiers.count(name) > 1]
    return faults


def test_the_canvas_is_valid_and_shows_the_components():
    canvas = json.loads((VAULT / "pipeline.canvas").read_text(encoding="utf-8"))
    assert canvas_faults(canvas) == []
    shown = {node["file"] for node in canvas["nodes"] if node["type"] == "file"}
    assert {path.relative_to(VAULT).as_posix() for path in (VAULT / "components").glob("*.md")} <= shown


@pytest.mark.parametrize(
    ("place", "change", "fault"),
    [
        ("nodes", {"type": "picture"}, "no known type"),
        ("nodes", {"type": "file", "file": "gone.md"}, "there is no gone.md"),
        ("nodes", {"x": "0"}, "has no place"),
        ("nodes", {"id": "images"}, "two nodes are images"),
        ("edges", {"toNode": "gone"}, "leads nowhere"),
        ("edges", {"toSide": "middle"}, "no such side"),
        ("edges", {"id": "images-backbone"}, "two edges are images-backbone"),
    ],
)
def test_a_fault_of_the_canvas_is_found(place, change, fault):
    canvas = json.loads((VAULT / "pipeline.canvas").read_text(encoding="utf-8"))
    canvas[place][-1] |= change
    assert any(fault in line for line in canvas_faults(canvas))


def test_the_worked_example_of_the_metrics_note():
    assert auc([2.0, np.inf, 0.5], [3.0])[0] == pytest.approx(0.5)
    assert "AUC@3 = 1.5 / 3 = 0.5" in (VAULT / "reference" / "metrics.md").read_text(encoding="utf-8")
