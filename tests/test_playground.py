"""Notebook 12: pairs to play with are what their sliders say, verdicts are true, and the widget follows."""

import math
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from microloftr.data.atlas import build_atlas
from microloftr.data.micrographs import Micrograph
from microloftr.data.pairs import make_pairs
from microloftr.errors import ParameterError
from microloftr.evaluation.metrics import corner_error
from microloftr.images import Image
from microloftr.matches import Matches
from microloftr.views.explorers.playground import View, draw_explorer, explore
from microloftr.views.figures import figure_bytes
from microloftr.views.playground_figures import Knob, Line, draw_play, draw_scans, verdict
from microloftr.views.playground_pairs import SEED, Cut, Given, Scene, flattened, turned
from microloftr.views.playground_study import ALL_STEPS, NETWORK, STEPS, Rules, find, judge, matcher_of, scan, told

SIZE = 128


def texture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Blobs of all sizes (H, W) uint8: something to match."""
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros(1, 1, height, width)
    for cells in (6, 12, 25, 50):
        small = torch.rand(1, 1, cells, cells, generator=generator)
        total += torch.nn.functional.interpolate(small, (height, width), mode="bicubic")
    total = (total - total.min()) / (total.max() - total.min())
    return (total[0, 0] * 255).byte().numpy()


@pytest.fixture(scope="module")
def source() -> Cut:
    made = [Micrograph(f"m_{k}", "validation", f"s{k}", "sem", texture(360, 420, k)) for k in range(2)]
    return Cut(build_atlas(made), SIZE)


def test_a_scene_without_wishes_is_what_the_level_draws(source):
    pair, made = source.make(Scene(1, 3, "hard")), make_pairs(source.atlas, "hard", SEED, np.array([7]), SIZE)
    np.testing.assert_array_equal(pair.image_0, made.images_0[0, 0])
    np.testing.assert_array_equal(pair.image_1, made.images_1[0, 0])
    np.testing.assert_array_equal(pair.truth, made.homography[0])
    filled = source.filled(Scene(1, 3, "extreme"))
    assert 15 <= filled.photons <= 80 and 0.1 < filled.overlap < 0.55
    assert math.isinf(source.filled(Scene(1, 3, "easy")).photons)


@pytest.mark.parametrize(("rotation", "scale", "overlap"), [(-120.0, 1.0, 0.3), (45.0, 0.7, 0.6), (0.0, 1.5, 0.4)])
def test_sliders_do_what_they_say(source, rotation, scale, overlap):
    true = source.make(Scene(0, 1, "easy", rotation=rotation, scale=scale, overlap=overlap)).true
    assert true.rotation_deg == pytest.approx(rotation, abs=3)  # shear and perspective come on top
    assert true.scale == pytest.approx(scale, rel=0.1)
    assert true.overlap == pytest.approx(overlap, abs=0.05)


def test_contrast_and_photons_change_the_second_image_alone(source):
    plain, flat, swapped, noisy = (
        source.make(Scene(0, 0, "easy", **change))
        for change in ({}, {"contrast": 0.2}, {"contrast": -1.0}, {"photons": 20.0})
    )
    for other in (flat, swapped, noisy):
        np.testing.assert_array_equal(plain.image_0, other.image_0)
    assert flat.image_1.std() < 0.4 * plain.image_1.std()
    assert np.corrcoef(plain.image_1.ravel(), swapped.image_1.ravel())[0, 1] < -0.9
    grain = (noisy.image_1 - plain.image_1).std()
    assert grain == pytest.approx(math.sqrt(plain.image_1.mean() / 20), rel=0.2)
    np.testing.assert_allclose(flattened(np.array([[0.0, 0.5, 1.0]]), -0.5), [[0.75, 0.5, 0.25]])


def test_what_cannot_be_is_refused(source):
    for wrong in ({"level": "harder"}, {"rotation": 200.0}, {"scale": 9.0}, {"contrast": 2.0}, {"photons": 0.0}):
        with pytest.raises(ParameterError, match=next(iter(wrong))):
            Scene(**wrong)
    with pytest.raises(ParameterError, match="no micrograph 2"):
        source.make(Scene(2))
    with pytest.raises(ParameterError, match="steps"):
        Rules(steps="magic")
    with pytest.raises(ParameterError, match="tolerance"):
        Rules(tolerance=0.0)


def test_an_image_is_turned_clockwise_about_its_centre():
    pixels = np.zeros((41, 61), np.float32)
    pixels[20, 50] = 1  # on the right
    down = turned(pixels, 90.0, 1.0)
    assert down.shape == (61, 41) and np.unravel_index(down.argmax(), down.shape) == (50, 20)
    assert turned(pixels, 0.0, 1.0) is pixels
    assert turned(pixels, 0.0, 2.0).shape == (82, 122)


def test_two_images_of_ones_own_are_changed_without_a_truth():
    image = texture(140, 170)[:, :160] / np.float32(255)
    given = Given(Image(image, None, "a.tif"), Image(image[10:, 20:], None, "b.tif"), side=150)
    plain = given.make(Scene())
    assert plain.truth is None and plain.image_0.shape == (131, 150) and given.names == ["a.tif and b.tif"]
    assert given.make(Scene(rotation=90.0)).image_1.shape[0] > plain.image_1.shape[0]
    assert given.make(Scene(contrast=0.1, photons=50.0)).image_1.std() < plain.image_1.std()
    found = judge(plain, matcher_of(ALL_STEPS).match(plain.image_0, plain.image_1), Rules())
    assert found.error is None and found.right is None and found.transform is not None
    assert "not known" in verdict(plain, found, Rules())[1]
    with pytest.raises(ParameterError, match="truth"):
        scan(given, Scene(), Rules(NETWORK), "contrast", [1.0])


def matches_by(homography: np.ndarray, shift: float = 0.0) -> Matches:
    """A grid of matches that a homography gives, some of them shifted by px."""
    x, y = np.meshgrid(np.arange(8, SIZE, 10.0), np.arange(8, SIZE, 10.0))
    points_0 = np.stack((x, y), -1).reshape(-1, 2)
    moved = np.concatenate((points_0, np.ones((len(points_0), 1))), 1) @ homography.T
    points_1 = moved[:, :2] / moved[:, 2:] + shift
    return Matches(points_0, points_1, np.linspace(1, 0.1, len(points_0)), (SIZE, SIZE), (SIZE, SIZE))


@pytest.mark.parametrize(("shift", "word"), [(0.0, "right"), (5.0, "near"), (40.0, "wrong")])
def test_the_verdict_is_what_the_truth_says(source, shift, word):
    pair = source.make(Scene(0, 0, "easy"))
    found = judge(pair, matches_by(pair.truth, shift), Rules())
    assert found.error == corner_error(found.transform.matrix, pair.truth, (SIZE, SIZE))
    assert found.error == pytest.approx(shift * math.sqrt(2), abs=0.1)
    assert found.right.all() == (word == "right") and verdict(pair, found, Rules())[1].endswith(word)
    colours = draw_play(pair, found, Rules()).axes[0].collections[0].get_facecolors()
    assert (colours[:, 2] > 0.5).all() == (word == "right") and len(colours) == len(found.matches)


def test_no_transform_is_an_answer_and_rules_sort_matches(source):
    pair = source.make(Scene(0, 0, "easy"))
    matches = matches_by(pair.truth)
    assert len(judge(pair, matches, Rules(confidence=0.9)).matches) == int((matches.confidence >= 0.9).sum()) > 0
    found = judge(pair, matches.top(2), Rules())
    assert found.transform is None and found.error == math.inf
    first, second = verdict(pair, found, Rules())
    assert first.startswith("No transform. ") and second.endswith("nothing is wrong")
    nothing = judge(pair, matches.top(0), Rules())
    assert draw_play(pair, nothing, Rules()).axes[1].get_title() == "nothing to lay over"


def test_the_steps_are_those_of_the_matcher(source):
    pair = source.make(Scene(0, 0, "easy", rotation=120.0, overlap=0.8))
    assert [matcher_of(steps).options.search for steps in STEPS] == [False, True, True, True]
    whole = find(pair, Rules())
    assert whole.error < 3 and whole.right.mean() > 0.9
    assert scan(source, Scene(0, 0, "easy", overlap=0.8), Rules(), "rotation", [120.0]) == [whole.error]
    assert find(pair, Rules(NETWORK)).error > 3  # it bears some 45° alone


def test_scans_are_told_and_drawn():
    knob = Knob("contrast", (1, 0, -1), [Line("a", (0.2, math.inf, 5.0)), Line("b", (0.1, 0.2, 4000.0))])
    assert told(knob.values, knob.lines[0].errors) == "right at 1; off at −1; no transform at 0"
    assert [line.right for line in knob.lines] == [1, 2]
    axis = draw_scans([knob]).axes[0]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["1", "0", "−1"]
    crosses = [line for line in axis.lines if line.get_marker() == "x"]
    assert [list(line.get_xdata()) for line in crosses] == [[1], []]


def test_the_widget_shows_what_its_controls_say(source):
    view = View(Scene(0, 1, "easy", rotation=20.0))
    box = explore(source, view)
    picture = box.children[-1]
    assert picture.value == figure_bytes(draw_explorer(source, view), "jpeg")
    assert box.controls["rotation"].value == 20 and math.isinf(box.controls["photons"].value)
    before, started = picture.value, time.process_time()
    box.controls["photons"].value = 100.0
    assert time.process_time() - started < 1  # seconds of this process alone
    assert picture.value != before and box.view.scene.photons == 100.0 and box.view.scene.rotation == 20
    before = picture.value
    box.rules["steps"].value = NETWORK
    assert picture.value != before and box.view.rules == Rules(NETWORK)
    box.controls["level"].value = "extreme"
    drawn = source.filled(replace(Scene(), place=1, level="extreme"))
    assert box.controls["rotation"].value == round(drawn.rotation)
    assert box.controls["photons"].value in (15.0, 30.0, 60.0, 100.0) and box.view.scene.level == "extreme"


def test_of_two_given_images_level_and_overlap_stay(source):
    image = texture(120, 120) / np.float32(255)
    box = explore(Given(Image(image, None, "a"), Image(image, None, "b")), View())
    assert [name for name, control in box.controls.items() if control.disabled] == ["place", "level", "overlap"]
    box.controls["rotation"].value = 90
    assert box.view.scene == replace(Scene(), rotation=90, scale=1.0, photons=math.inf)
