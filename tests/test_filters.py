"""What filters keep, fold back and move; scores of pairs that they shrank."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from microloftr.data.atlas import build_atlas
from microloftr.data.micrographs import Micrograph
from microloftr.errors import ParameterError
from microloftr.evaluation import shrinking
from microloftr.evaluation.baselines import RootSIFT
from microloftr.evaluation.filters import (
    FILTERS,
    LOADER,
    OURS,
    Filter,
    amplitude_kept,
    frame_error,
    measure_shift,
    shift_errors,
)
from microloftr.evaluation.metrics import apply_homography, auc, bootstrap_interval
from microloftr.images import resize
from microloftr.results import read_result

FIXED, STRETCHED = FILTERS[:4], FILTERS[4:]


def texture(height: int, width: int, sigma: float, seed: int = 0) -> np.ndarray:
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=(height, width)), sigma, mode="wrap")
    return (0.5 + 0.15 * noise / noise.std()).clip(0, 1).astype(np.float32)


def test_eight_filters_with_names_of_their_own():
    assert len({shrink.key for shrink in FILTERS}) == len({shrink.label for shrink in FILTERS}) == 8
    assert [shrink.antialiased for shrink in FILTERS] == [False] * 4 + [True] * 4
    with pytest.raises(ParameterError, match="no kernel 'sinc'"):
        Filter("sinc", True)


@pytest.mark.parametrize("shrink", FILTERS, ids=lambda shrink: shrink.key)
def test_every_filter_keeps_a_constant_and_gives_the_size_asked_for(shrink):
    small = shrink(np.full((37, 53), 0.3), (9, 11))
    assert small.shape == (9, 11) and small.dtype == np.float32
    np.testing.assert_allclose(small, 0.3, atol=1e-6)


def test_ours_is_the_resize_of_the_library():
    pixels = texture(60, 80, 1)
    np.testing.assert_array_equal(OURS(pixels, (17, 23)), resize(pixels, (17, 23)))


def test_fixed_kernels_keep_waves_that_the_small_image_cannot_hold():
    fine = {shrink.key: amplitude_kept(shrink, [0.8, 1.2]).mean() for shrink in FILTERS}
    assert all(fine[shrink.key] > 0.6 for shrink in FIXED)
    assert all(fine[shrink.key] < 0.25 for shrink in STRETCHED)
    assert fine[OURS.key] < 0.01
    coarse = {shrink.key: amplitude_kept(shrink, [0.05, 0.2]).mean() for shrink in FILTERS}
    assert abs(coarse[OURS.key] - 1) < 0.02 and coarse["bilinear_antialiased"] < 0.95


def test_bilinear_by_two_neighbours_keeps_what_arithmetic_says():
    # A whole factor of 4 puts each small pixel half way between two large ones: the mean of both keeps cos(π f / 4).
    kept = amplitude_kept(LOADER, [0.3, 0.7, 1.3])
    np.testing.assert_allclose(kept, np.cos(np.pi * np.array([0.3, 0.7, 1.3]) / 4), atol=5e-3)


def test_waves_that_the_large_image_cannot_hold_are_refused():
    with pytest.raises(ParameterError, match="up to 1 cycles per pixel"):
        amplitude_kept(OURS, [1.1], factor=2)


@pytest.mark.parametrize("x, y", [(0.3, -0.7), (-1.25, 0.5)])
def test_a_shift_made_in_the_spectrum_is_measured(x, y):
    pixels = texture(96, 80, 1.5)
    frequency_y, frequency_x = np.meshgrid(np.fft.fftfreq(96), np.fft.fftfreq(80), indexing="ij")
    turned = np.fft.fft2(pixels) * np.exp(-2j * np.pi * (frequency_x * x + frequency_y * y))
    np.testing.assert_allclose(measure_shift(pixels, np.fft.ifft2(turned).real), [x, y], atol=1e-3)


def test_a_shift_between_images_of_other_sizes_is_refused():
    with pytest.raises(ParameterError, match="two images of one size"):
        measure_shift(np.zeros((40, 40)), np.zeros((40, 41)))


def test_antialiased_filters_keep_a_known_shift_and_fixed_ones_do_not():
    pixels = texture(200, 200, 1.2)
    shifts = [(1, 0), (2, 3), (5, 1)]
    errors = {s.key: np.abs(shift_errors(s, pixels, shifts, (50, 51), 190)).max() for s in FILTERS}
    assert errors[OURS.key] < 0.02
    assert all(errors[shrink.key] > 0.05 for shrink in FIXED)
    with pytest.raises(ParameterError, match="do not fit"):
        shift_errors(OURS, pixels, [(11, 0)], (50, 50), 190)


@pytest.mark.parametrize("small", [(40, 60), (37, 59)])
def test_all_keep_the_frame_but_the_nearest_pixel(small):
    errors = {shrink.key: frame_error(shrink, (160, 240), small) for shrink in FILTERS}
    first_of_block = (1 - np.array(small[::-1]) / (240, 160)) / 2  # OpenCV takes the pixel at its block's first corner
    assert all(np.abs(error).max() < 0.01 for key, error in errors.items() if key != "nearest_fixed")
    assert (errors["nearest_fixed"] > 0.8 * first_of_block).all()


def test_a_shrunk_pair_keeps_its_truth():
    pair = shrinking.turned_pair(texture(230, 250, 3), 20.0, 200)
    small = shrinking.shrunk(pair, OURS, 60)
    assert small.image_0.shape == small.image_1.shape == (60, 60)
    points = np.array([[10.0, 20.0], [40.0, 31.0]])
    large = (points + 0.5) / 0.3 - 0.5
    expected = (apply_homography(pair.homography, large) + 0.5) * 0.3 - 0.5
    np.testing.assert_allclose(apply_homography(small.homography, points), expected, atol=1e-9)


def test_the_truth_of_a_turned_pair_is_where_the_pixels_went():
    pixels = texture(230, 250, 4)
    pair = shrinking.turned_pair(pixels, 20.0, 200)
    centre = apply_homography(pair.homography, [[99.5, 99.5]])
    np.testing.assert_allclose(centre, [[99.5, 99.5]], atol=1e-9)
    points_0 = np.stack(np.meshgrid(np.arange(60, 140, 7), np.arange(60, 140, 7)), -1).reshape(-1, 2)
    points_1 = np.rint(apply_homography(pair.homography, points_0)).astype(int)
    alike = np.corrcoef(pair.image_0[tuple(points_0.T[::-1])], pair.image_1[tuple(points_1.T[::-1])])[0, 1]
    assert alike > 0.95
    with pytest.raises(ParameterError, match="does not fit"):
        shrinking.turned_pair(pixels, 20.0, 240)


def test_rootsift_matches_what_was_shrunk_without_false_patterns():
    pair = shrinking.turned_pair(texture(420, 420, 1.2) * 0.5 + texture(420, 420, 6, 1) * 0.5, 10.0, 400)
    error, count = shrinking.error_of(RootSIFT(), shrinking.shrunk(pair, OURS, 120))
    assert error < 1 and count > 20


def test_comparison_is_pair_by_pair_with_an_interval_by_source():
    errors = {shrink.key: np.array([0.5, 0.7, 2.0, np.inf]) for shrink in FILTERS}
    errors[LOADER.key] = errors[LOADER.key] + 0.25
    rows = shrinking.compare(errors, ["a", "a", "b", "c"])
    assert rows[OURS.key]["ours_better_1"] == rows[OURS.key]["ours_better_1_high"] == 0
    assert rows[OURS.key]["auc_3"] == round(float(auc(errors[OURS.key], [3])[0]), 4)
    row = rows[LOADER.key]
    assert row["ours_better_1"] == pytest.approx(rows[OURS.key]["auc_1"] - row["auc_1"], abs=2e-4)
    assert row["ours_better_3_low"] <= row["ours_better_3"] <= row["ours_better_3_high"]
    assert row["ours_better_3"] > 0 and row["failures"] == 0.25
    with pytest.raises(ParameterError, match="two specimens"):
        shrinking.compare(errors, ["a"] * 4)


def test_the_study_takes_every_filter_level_and_matcher(monkeypatch):
    made = [shrinking.turned_pair(texture(80, 80, 2, seed), 5.0, 64) for seed in range(2)]

    def pairs(level, count):
        for number, pair in enumerate(made[:count]):
            yield replace(pair, group=level, source=f"s{number}")

    monkeypatch.setattr(shrinking, "large_pairs", pairs)
    monkeypatch.setattr(shrinking, "SMALL", 48)
    monkeypatch.setattr(shrinking, "bootstrap_interval", partial(bootstrap_interval, resamples=10))
    values = shrinking.study({"rootsift": RootSIFT()}, 2)
    assert values["pairs"] == {"easy": 2, "medium": 2, "both": 4} and values["sources"]["both"] == 2
    assert set(values["levels"]) == {"easy", "medium", "both"}
    assert set(values["levels"]["both"]["rootsift"]) == {shrink.key for shrink in FILTERS}
    assert values["levels"]["easy"] == values["levels"]["medium"]


def test_large_pairs_show_one_place_and_take_every_micrograph(monkeypatch):
    pictures = [(255 * texture(300, 320, 4, seed)).astype(np.uint8) for seed in range(2)]
    atlas = build_atlas([Micrograph(f"m{k}", "validation", f"s{k}", "sem", p) for k, p in enumerate(pictures)])
    monkeypatch.setattr(shrinking, "split_atlas", lambda split: atlas)
    pairs = list(shrinking.large_pairs("easy", 3, side=160))
    assert [pair.source for pair in pairs] == ["s0", "s1", "s0"] and len({pair.id for pair in pairs}) == 3
    for pair in pairs:
        assert pair.image_0.shape == pair.image_1.shape == (160, 160) and pair.group == "easy"
        points_0 = np.stack(np.meshgrid(np.arange(10, 150, 6), np.arange(10, 150, 6)), -1).reshape(-1, 2)
        points_1 = np.rint(apply_homography(pair.homography, points_0)).astype(int)
        inside = ((points_1 >= 0) & (points_1 < 160)).all(1)
        values = [p[inside] for p in (points_0, points_1)]
        alike = np.corrcoef(pair.image_0[tuple(values[0].T[::-1])], pair.image_1[tuple(values[1].T[::-1])])[0, 1]
        assert inside.sum() > 100 and alike > 0.9
    with pytest.raises(ParameterError, match="pairs must be 1 to 8, not 9"):
        next(shrinking.large_pairs("easy", 9))


def test_the_committed_study_is_of_these_filters():
    values = read_result("shrinking")["values"]
    assert (values["large_px"], values["small_px"]) == (shrinking.LARGE, shrinking.SMALL)
    assert values["pairs"]["both"] == sum(values["pairs"][level] for level in shrinking.LEVELS)
    for rows in values["levels"]["both"].values():
        assert list(rows) == [shrink.key for shrink in FILTERS]
