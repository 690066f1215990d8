"""The explorer draws what its view says, its widget answers to clicks and controls, and its verdicts are select's."""

import time

import numpy as np
import pytest
import torch
from matplotlib.backend_bases import MouseButton, MouseEvent

from microloftr.errors import ParameterError
from microloftr.images import Image
from microloftr.model.coarse_matching import select
from microloftr.model.weights import random_model
from microloftr.views.case import Case, trace_case
from microloftr.views.explorers.coarse import Scene, View, draw_explorer, explore, verdict
from microloftr.views.figures import figure_bytes

SHIFT = np.array([[1.0, 0, -16.0], [0, 1, 8.0], [0, 0, 1]])


@pytest.fixture(scope="module")
def case() -> Case:
    generator = torch.Generator().manual_seed(0)
    small = torch.rand(1, 1, 10, 12, generator=generator)
    pixels = torch.nn.functional.interpolate(small, (80, 96), mode="bicubic").clamp(0, 1)[0, 0].numpy()
    moved = np.ascontiguousarray(np.roll(pixels, (8, -16), (0, 1))[:, :88])
    return trace_case(random_model("micro"), Image(pixels, None, "a"), Image(moved, None, "b"), SHIFT, threshold=0.0)


def found(case: Case, view: View):
    shapes = (tuple(c.shape[-2:]) for c in (case.trace.encoded.coarse_0, case.trace.encoded.coarse_1))
    return select(case.trace.log_confidence, *shapes, view.threshold, view.border)


def click(box, x: float, y: float, axes=None) -> None:
    """A click at a point in pixels of an image, as the canvas reports it."""
    scene = box.scene
    where = (axes or scene.axes_0).transData.transform((x, y))
    canvas = scene.figure.canvas
    canvas.callbacks.process("button_press_event", MouseEvent("button_press_event", canvas, *where, MouseButton.LEFT))


def test_a_view_shows_the_row_the_matches_and_the_truth(case):
    view = View(cell=40, threshold=0.0, border=1)  # row 3, column 4: at (32, 24), so truly at (16, 32)
    scene = Scene(case)
    scene.show(view)
    row = case.trace.log_confidence[0, 40].numpy() / np.log(10)
    matches = found(case, view)
    for heat in scene.heats:
        np.testing.assert_allclose(np.ravel(heat.get_array()), row, rtol=1e-5)
        assert heat.get_extent() == [-4, 84, 76, -4]
    np.testing.assert_array_equal(
        scene.dots[0].get_offsets() // 8, np.stack((matches.cells_0 % 12, matches.cells_0 // 12), 1)
    )
    np.testing.assert_array_equal(
        scene.dots[1].get_offsets() // 8, np.stack((matches.cells_1 % 11, matches.cells_1 // 11), 1)
    )
    assert scene.frames[0].get_xy() == (28, 20)
    assert scene.frames[1].get_xy() == (row.argmax() % 11 * 8 - 4, row.argmax() // 11 * 8 - 4)
    np.testing.assert_allclose([ring.get_data() for ring in scene.rings], [[[16], [32]]] * 2)
    errors = np.linalg.norm(scene.dots[1].get_offsets() - scene.dots[0].get_offsets() - [-16, 8], axis=1)
    right = int((errors < 8).sum())
    assert (
        f"In all {len(errors)} matches: {right} right (blue), {len(errors) - right} wrong" in scene.heading.get_text()
    )
    blue = (scene.dots[0].get_facecolors()[:, 2] > 0.5).sum()
    assert blue == right and 0 < right < len(errors)


def test_without_the_truth_nothing_of_it_is_seen(case):
    scene = Scene(case)
    scene.show(View(40, 0.0, truth=True))
    scene.show(View(40, 0.0, truth=False))
    assert len(scene.rings[0].get_xdata()) == len(scene.rings[1].get_xdata()) == 0
    assert (scene.dots[0].get_facecolors() == 1).all() and "right" not in scene.heading.get_text()


def test_the_static_twin_is_the_scene_the_widget_shows(case):
    view = View(40, 0.0, 1)
    box = explore(case, View(3, 0.5))
    box.scene.show(view)
    twin = draw_explorer(case, view)
    for one, other in zip(twin.axes, box.scene.figure.axes, strict=True):
        assert [image.get_array().shape for image in one.images] == [image.get_array().shape for image in other.images]
        for ours, theirs in zip(one.images, other.images, strict=True):
            np.testing.assert_array_equal(ours.get_array(), theirs.get_array())
        assert one.get_title() == other.get_title() and one.get_xlim() == other.get_xlim()
    assert figure_bytes(twin, "png") == figure_bytes(draw_explorer(case, view), "png")
    assert figure_bytes(twin, "png") != figure_bytes(draw_explorer(case, View(41, 0.0, 1)), "png")


@pytest.mark.parametrize(("threshold", "border"), [(0.0, 0), (0.0, 2), (0.003, 0), (0.9, 0)])
def test_every_cells_verdict_is_what_select_says(case, threshold, border):
    chosen = set(found(case, View(0, threshold, border)).cells_0.tolist())
    said = [verdict(case, View(cell, threshold, border)) for cell in range(120)]
    assert {cell for cell, text in enumerate(said) if text.endswith("\nA match.")} == chosen
    reasons = {text.split("\n")[1].split(":")[1].split()[0] for cell, text in enumerate(said) if cell not in chosen}
    expected = {(0.0, 0): {"its"}, (0.0, 2): {"its", "within"}, (0.003, 0): {"its", "not"}, (0.9, 0): {"not"}}
    assert reasons == expected[threshold, border]


def test_a_rival_is_named(case):
    log_confidence = case.trace.log_confidence[0]
    for cell in range(120):
        best = int(log_confidence[cell].argmax())
        rival = int(log_confidence[:, best].argmax())
        if rival != cell:
            assert f"prefers cell ({rival // 12}, {rival % 12})" in verdict(case, View(cell, 0.0))
            assert (
                f"Cell ({cell // 12}, {cell % 12}) of image_0: its best partner is ({best // 11}, {best % 11})"
                in verdict(case, View(cell, 0.0))
            )


def test_clicks_move_the_cell_and_controls_the_rules(case):
    box = explore(case, View(40, 0.0))
    (threshold, border, truth), canvas = box.children[0].children, box.children[1]
    assert canvas is box.scene.figure.canvas
    click(box, 50.0, 37.0)
    assert box.view == View(5 * 12 + 6, 0.0) and box.scene.frames[0].get_xy() == (44, 36)
    click(box, 20, 20, box.scene.axes_1)  # image_1 has no cells to click
    click(box, 3, 77)  # the rim below the last row belongs to no cell
    assert box.view.cell == 66
    threshold.value, border.value, truth.value = 0.001, 2, False
    assert box.view == View(66, 0.001, 2, False)
    matches = found(case, box.view)
    assert len(box.scene.dots[0].get_offsets()) == len(matches.cells_0) > 0
    threshold.value = 0.9
    assert "In all 0 matches." in box.scene.heading.get_text()


def test_own_rules_are_on_the_sliders(case):
    box = explore(case, View(0, 0.137))
    assert box.children[0].children[0].value == 0.137
    assert not box.scene.figure.get_constrained_layout()
    assert explore(case, View(0, 0.1, border=11)).children[0].children[1].value == 11


def test_it_answers_in_time(case):
    box = explore(case, View(40, 0.0))
    started = time.process_time()
    click(box, 50.0, 37.0)
    box.scene.figure.canvas.draw()
    assert time.process_time() - started < 1  # seconds of this process alone


@pytest.mark.parametrize("view", [View(-1), View(120), View(0, 1.0), View(0, -0.1), View(0, 0.1, -1)])
def test_views_that_cannot_be_are_refused(case, view):
    with pytest.raises(ParameterError, match=r"no cell|threshold"):
        draw_explorer(case, view)


def test_points_beyond_the_last_cell_have_none(case):
    scene = Scene(case)
    assert scene.cell_at(0, 0) == 0 and scene.cell_at(91.9, 75.9) == 119
    assert scene.cell_at(92, 30) is None
