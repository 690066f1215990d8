"""Whether a confidence means a share, and the monotone map that mends it."""

import json

import numpy as np
import pytest

from microloftr.calibration import (
    Calibration,
    bin_sums,
    calibration_error,
    fit_calibration,
    groups,
    pair_weights,
    pool_adjacent_violators,
    shipped_calibration,
)
from microloftr.errors import ParameterError


def overconfident(number: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Matches that say c and are right with the probability c²."""
    generator = np.random.default_rng(seed)
    confidence = generator.uniform(size=number)
    return confidence, generator.uniform(size=number) < confidence**2


def test_pooling_by_hand():
    blocks = pool_adjacent_violators(np.array([0.1, 0.5, 0.3, 0.4, 0.9]), np.array([1.0, 1, 1, 2, 1]))
    assert blocks == [slice(0, 1), slice(1, 4), slice(4, 5)]  # .5 .3 .4 → .4, which is above .1 and below .9
    assert pool_adjacent_violators(np.array([0.9, 0.1]), np.ones(2)) == [slice(0, 2)]
    assert pool_adjacent_violators(np.array([0.2, 0.2]), np.ones(2)) == [slice(0, 2)]


def test_the_map_is_found_and_keeps_the_order():
    found = fit_calibration(*overconfident(40_000))
    confidence = np.linspace(0, 1, 101)
    assert found.apply(confidence) == pytest.approx(confidence**2, abs=0.05)
    assert (np.diff(found.apply(confidence)) >= 0).all()
    assert found.knots_x[0] == found.knots_y[0] == 0 and found.knots_x[-1] == 1


def test_the_error_by_hand_and_after_the_map():
    sums = bin_sums(np.array([0.05, 0.15, 0.15, 1.0]), np.array([True, False, False, True]))
    assert sums[:2].tolist() == [[1, 0.05, 1], [2, 0.3, 0]] and sums[9].tolist() == [1, 1, 1]
    assert calibration_error(sums) == pytest.approx((0.95 + 0.3 + 0) / 4)
    fitted, other = overconfident(20_000), overconfident(20_000, seed=1)
    before = calibration_error(bin_sums(*other))
    after = calibration_error(bin_sums(fit_calibration(*fitted).apply(other[0]), other[1]))
    assert before > 0.15 and after < 0.02
    assert np.isnan(calibration_error(bin_sums(np.zeros(0), np.zeros(0))))


def few_unsure_pairs(number: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`number` pairs: most have 1000 matches that say .99 and are right; each tenth has ten that say .1 to .5, of which
    nine in ten are right. (confidence, right, weight).
    """
    generator = np.random.default_rng(seed)
    said, right = [], []
    for k in range(number):
        count = 10 if k % 10 == 0 else 1000
        said.append(generator.uniform(0.1, 0.5, count) if count == 10 else np.full(count, 0.99))
        right.append(generator.uniform(size=count) < (0.9 if count == 10 else 0.99))
    return np.concatenate(said), np.concatenate(right), pair_weights([len(one) for one in said])


def test_modesty_in_a_few_pairs_is_seen_by_pair_and_not_by_match():
    said, right, weight = few_unsure_pairs(200)
    by_match, by_pair = bin_sums(said, right), bin_sums(said, right, weight)
    assert calibration_error(by_match) < 0.005  # the 200 low matches of 180,200 are lost
    assert calibration_error(by_pair) == pytest.approx(0.1 * 0.6, abs=0.02)
    assert calibration_error(by_pair[:9]) == pytest.approx(0.6, abs=0.05)


def test_the_low_range_is_fitted_by_its_own_matches():
    fitted, other = few_unsure_pairs(200), few_unsure_pairs(200, seed=1)
    found = fit_calibration(*fitted)
    low = found.apply(np.array([0.15, 0.25, 0.35, 0.45]))
    assert low == pytest.approx(np.full(4, 0.9), abs=0.08)  # no line from 0 to the sure ones
    sums = bin_sums(found.apply(other[0]), *other[1:])
    assert calibration_error(sums) < 0.02
    twice = np.repeat(
        np.arange(len(fitted[0])), 2
    )  # the weights are shares: how many matches they stand for is nothing
    again = fit_calibration(fitted[0][twice], fitted[1][twice], fitted[2][twice] / 2)
    assert again.apply(np.linspace(0, 1, 50)) == pytest.approx(found.apply(np.linspace(0, 1, 50)), abs=0.02)


def test_groups_are_of_fixed_width_below_the_sure_ones_and_none_is_too_light():
    confidence = np.array([0.01, 0.15, 0.16, 0.25, 0.85, 0.91, 0.93, 0.95, 1.0])
    alike = [part.tolist() for part in groups(confidence, np.ones(9))]
    assert alike == [[0], [1, 2], [3], [4], [5], [6], [7], [8]]
    light = np.array([0.001, 1, 1, 0.001, 0.001, 1, 1, 1, 1])
    assert [part.tolist() for part in groups(confidence, light)] == [[0, 1, 2, 3, 4], [5], [6], [7], [8]]
    assert pair_weights([2, 0, 4]).tolist() == [0.5, 0.5, 0.25, 0.25, 0.25, 0.25] and len(pair_weights([])) == 0


def test_a_map_of_few_or_equal_confidences():
    assert fit_calibration(np.array([0.5]), np.array([True])).apply(np.array([0.25, 0.5, 1])).tolist() == [0.5, 1, 1]
    certain = fit_calibration(np.ones(10), np.arange(10) < 7)
    assert certain.apply(np.array([0.0, 1.0])) == pytest.approx([0, 0.7])


def test_a_map_is_saved_and_loaded_and_none_is_shipped_for_unknown_weights(tmp_path):
    found = fit_calibration(*overconfident(1000))
    found.save(tmp_path / "map.json")
    assert Calibration.load(tmp_path / "map.json") == found
    assert set(json.loads((tmp_path / "map.json").read_text())) == {"knots_x", "knots_y"}
    assert shipped_calibration("no_such_weights") is None


@pytest.mark.parametrize(
    "x, y",
    [((0, 1), (0, 2)), ((0, 0.5), (0, 1)), ((0, 0.6, 0.4, 1), (0, 0, 0, 1)), ((0, 0.5, 1), (0, 0.6, 0.5)),
     ((0, 1), (0,)), ((0, float("nan"), 1), (0, 0.5, 1)), ("ab", "cd")],
)  # fmt: skip
def test_no_map_is_one_clear_sentence(x, y):
    with pytest.raises(ParameterError, match="knots"):
        Calibration(x, y)


def test_bad_matches_and_files_are_told(tmp_path):
    for confidence, right in (([], []), ([0.5], [True, False]), ([1.5], [True])):
        with pytest.raises(ParameterError):
            fit_calibration(np.array(confidence), np.array(right))
    for weight in ([1.0, 2.0], [0.0], [float("nan")]):
        with pytest.raises(ParameterError):
            fit_calibration(np.array([0.5]), np.array([True]), np.array(weight))
    (tmp_path / "bad.json").write_text("{}")
    for path in (tmp_path / "bad.json", tmp_path / "gone.json"):
        with pytest.raises(ParameterError, match="no calibration"):
            Calibration.load(path)
