"""Matchers that need no training, and the look-up by name: known warps in, known points out."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from microloftr.errors import MicroLoFTRError, WeightsError
from microloftr.evaluation.baselines import PhaseCorrelation, RootSIFT, mutual_matches
from microloftr.evaluation.identity import weights_sha256
from microloftr.evaluation.matchers import get_matcher, matcher_key
from microloftr.images import as_image
from microloftr.matches import Matches

SPOTS = np.random.default_rng(0).uniform([-300, -300, 1.2, 0.2], [600, 600, 4.0, 1.0], size=(4000, 4))


def specimen(width: int, height: int, x: float = 0.0, y: float = 0.0) -> np.ndarray:
    """Gaussian spots seen through a window whose top-left pixel stands at (x, y): exact at any sub-pixel shift."""
    image = np.zeros((height, width))
    for spot_x, spot_y, sigma, weight in SPOTS:
        u, v = spot_x - x, spot_y - y
        if not (-12 < u < width + 12 and -12 < v < height + 12):
            continue
        row = np.exp(-((np.arange(width) - u) ** 2) / (2 * sigma**2))
        column = np.exp(-((np.arange(height) - v) ** 2) / (2 * sigma**2))
        image += weight * column[:, None] * row
    return (image / 3).clip(0, 1).astype(np.float32)


@pytest.fixture(scope="module")
def micrograph() -> np.ndarray:
    return specimen(220, 180)


def bias(matcher: RootSIFT, image: np.ndarray, turns: int) -> np.ndarray:
    """Mean of found − true points (x, y) between an image and itself turned by quarters, which is exact."""
    height, width = image.shape
    matches = matcher.match(image, np.ascontiguousarray(np.rot90(image, turns)))
    x, y = matches.points_0.T
    true = {1: (y, width - 1 - x), 2: (width - 1 - x, height - 1 - y)}[turns]
    difference = matches.points_1 - np.stack(true, axis=-1)
    right = np.hypot(*difference.T) < 3
    assert right.sum() > 100 and right.mean() > 0.9
    return difference[right].mean(axis=0)


@pytest.mark.parametrize("turns", [1, 2])
def test_rootsift_has_no_bias_under_rotation(micrograph, turns):
    assert np.abs(bias(RootSIFT(), micrograph, turns)).max() < 0.03
    # what OpenCV does by default, and the test would not let pass
    assert np.hypot(*bias(RootSIFT(precise_upscale=False), micrograph, turns)) > 0.3


def test_rootsift_finds_a_sub_pixel_shift(micrograph):
    matches = RootSIFT().match(micrograph, specimen(200, 190, 13.3, -6.4))
    moved = matches.points_1 - matches.points_0
    assert len(matches) > 100
    assert np.median(moved, axis=0) == pytest.approx([-13.3, 6.4], abs=0.03)
    assert (matches.size_0, matches.size_1) == ((220, 180), (200, 190))
    assert matches.confidence.min() >= 1 - 0.85 and matches.confidence.max() <= 1


def test_rootsift_does_not_give_up_on_flat_micrographs(micrograph):
    flat = 0.45 + 0.1 * micrograph
    fair, default = RootSIFT(), RootSIFT(contrast_threshold=0.04, edge_threshold=10)
    assert len(fair.match(flat, flat[:, 10:])) > 100 > 10 > len(default.match(flat, flat[:, 10:]))


def test_rootsift_descriptors_are_roots_of_unit_sums(micrograph):
    _, descriptors = RootSIFT().describe(micrograph)
    assert np.linalg.norm(descriptors, axis=1) == pytest.approx(np.ones(len(descriptors)), abs=1e-5)
    assert (descriptors**2).sum(axis=1) == pytest.approx(np.ones(len(descriptors)), abs=1e-5)


def test_mutual_matches_by_hand():
    east, north, north_east = np.eye(2)[0], np.eye(2)[1], np.full(2, np.sqrt(0.5))
    index_0, index_1, confidence = mutual_matches(np.array([north, east]), np.array([east, north_east, north]), 0.85)
    assert (index_0.tolist(), index_1.tolist()) == ([0, 1], [2, 0])
    assert confidence == pytest.approx([1, 1], abs=1e-3)
    # two rows that want the same column: the nearer one gets it; a row with two equal answers gets none
    near = np.array([np.cos(0.1), np.sin(0.1)])
    index_0, index_1, _ = mutual_matches(np.array([near, east]), np.array([east, north]), 0.85)
    assert (index_0.tolist(), index_1.tolist()) == ([1], [0])
    index_0, _, _ = mutual_matches(np.array([east, north]), np.array([east, east]), 0.85)
    assert index_0.tolist() == []


@pytest.mark.parametrize("matcher", [RootSIFT(), PhaseCorrelation()])
def test_a_blank_image_has_no_matches(matcher, micrograph):
    for pair in [(np.full((64, 80), 0.5), micrograph), (micrograph, np.zeros((64, 80))), (np.zeros((9, 9)),) * 2]:
        matches = matcher.match(*pair)
        assert len(matches) == 0 and matches.points_0.shape == matches.points_1.shape == (0, 2)
        assert matches.size_0 == pair[0].shape[::-1]


@pytest.mark.parametrize("matcher", [RootSIFT(), PhaseCorrelation()])
def test_results_do_not_depend_on_the_number_of_threads(matcher, micrograph):
    before = cv2.getNumThreads()
    try:
        found = []
        for threads in (1, 2):
            cv2.setNumThreads(threads)
            found.append(matcher.match(micrograph, specimen(220, 180, 20.5, 11.25)))
    finally:
        cv2.setNumThreads(before)
    assert len(found[0]) > 50
    for name in ("points_0", "points_1", "confidence"):
        assert np.array_equal(getattr(found[0], name), getattr(found[1], name))


@pytest.mark.parametrize("x, y", [(12.3, -7.6), (-30.5, 4.24), (0.0, 0.0), (150.25, 3.0), (-4.0, -120.5)])
def test_phase_correlation_finds_shifts_also_of_tiles(micrograph, x, y):
    matches = PhaseCorrelation().match(micrograph, specimen(220, 180, x, y))
    assert matches.points_1 - matches.points_0 == pytest.approx(np.tile([-x, -y], (len(matches), 1)), abs=0.35)
    share = (220 - abs(x)) * (180 - abs(y)) / 220 / 180
    assert len(matches) == pytest.approx(share * 220 * 180 / 16**2, rel=0.2)
    assert (matches.points_1 >= 0).all() and (matches.points_1 <= [219, 179]).all()
    assert matches.confidence.min() > 0.8


def test_phase_correlation_of_images_of_two_sizes(micrograph):
    matches = PhaseCorrelation().match(micrograph, specimen(160, 200, 31.5, -9.5))
    assert np.median(matches.points_1 - matches.points_0, axis=0) == pytest.approx([-31.5, 9.5], abs=0.2)


def test_phase_correlation_is_not_sure_of_unrelated_images(micrograph):
    matches = PhaseCorrelation().match(micrograph, specimen(220, 180, -290, 400))
    assert len(matches) == 0 or matches.confidence.max() < 0.5


class FromOutside:
    """A user's own matcher in ten lines: every point where it was."""

    def match(self, image_0, image_1) -> Matches:
        image_0, image_1 = as_image(image_0), as_image(image_1)
        points = np.array([[1.0, 2.0], [30.0, 4.0], [5.0, 60.0], [70.0, 80.0]])
        return Matches(points, points, np.ones(4), image_0.pixels.shape[::-1], image_1.pixels.shape[::-1])


class NoMatcher:
    """Has no method match."""


def test_matchers_by_name(micrograph):
    assert isinstance(get_matcher("rootsift"), RootSIFT)
    assert isinstance(get_matcher("phase_correlation"), PhaseCorrelation)
    outside = get_matcher(f"{__name__}.FromOutside")
    assert isinstance(outside, FromOutside) and len(outside.match(micrograph, micrograph)) == 4


def test_weights_that_know_little_stand_alone_or_are_searched_with():
    for name, whole in (("micro-random", False), ("one_conv", False), ("random:micro", True)):
        assert get_matcher(name).options.search is whole
    for name in ("micro-random", "one_conv"):
        alone, searched = get_matcher(name), get_matcher(f"{name}-searched")
        assert searched.options == replace(alone.options, search=True) and searched.options.align
        assert weights_sha256(searched) == weights_sha256(alone)


def test_untrained_weights_match_and_stay_the_same(micrograph):
    pair = micrograph[:96, :112], micrograph[8:104, 16:128]
    first, again = (get_matcher("micro-random").match(*pair) for _ in range(2))
    assert isinstance(first, Matches) and np.array_equal(first.points_1, again.points_1)


@pytest.mark.parametrize(
    "name",
    ["rotsift", "micro-searched", "no.such.Module", f"{__name__}.Missing", f"{__name__}.NoMatcher", "a.safetensors"],
)
def test_a_name_that_leads_nowhere_is_one_clear_sentence(name):
    with pytest.raises(MicroLoFTRError) as caught:
        get_matcher(name)
    assert isinstance(caught.value, WeightsError)
    assert "\n" not in str(caught.value) and name in str(caught.value)


def test_keys_hold_letters_digits_and_underscores_only():
    assert matcher_key("micro-random") == "micro_random"
    assert matcher_key("runs/some place/best.v2.safetensors") == "best_v2"
    assert matcher_key("package.module.Class") == "package_module_Class"
