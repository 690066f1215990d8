"""The scores on points placed by hand, beside independent integrals, and with faults planted on purpose."""

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from microloftr.errors import ParameterError
from microloftr.evaluation import metrics

SHIFT = np.array([[1, 0, 3], [0, 1, 4], [0, 0, 1]], dtype=float)  # moves every point by 5 px
DOUBLE = np.diag([2.0, 2.0, 1.0])


def test_corners_are_centres_of_corner_pixels():
    assert metrics.corners((5, 3)).tolist() == [[0, 0], [4, 0], [4, 2], [0, 2]]


def test_corner_error_by_hand():
    assert metrics.corner_error(SHIFT, np.eye(3), (320, 240)) == pytest.approx(5.0)
    # doubling moves the corners of a 5×3 image by 0, 4, √(4² + 2²) and 2 px
    assert metrics.corner_error(DOUBLE, np.eye(3), (5, 3)) == pytest.approx((0 + 4 + np.sqrt(20) + 2) / 4)


def test_corner_error_does_not_depend_on_the_scale_of_the_matrix():
    assert metrics.corner_error(-3.0 * SHIFT, 7.0 * np.eye(3), (20, 10)) == pytest.approx(5.0)


def test_corner_error_is_infinite_without_an_estimate():
    assert metrics.corner_error(None, np.eye(3), (5, 3)) == np.inf
    assert metrics.corner_error(np.full((3, 3), np.nan), np.eye(3), (5, 3)) == np.inf


def test_a_horizon_across_the_image_is_a_failure():
    folded = np.eye(3)
    folded[2, 0] = -1 / 50  # points right of x = 50 lie behind the camera
    assert metrics.corner_error(folded, np.eye(3), (40, 40)) < np.inf
    assert metrics.corner_error(folded, np.eye(3), (100, 40)) == np.inf


def test_a_horizon_outside_the_overlap_is_none():
    true = np.array([[1, 0, -90.0], [0, 1, 0], [0, 0, 1]])
    bent = np.array([[1, 0, -90.0], [0, 1, 0], [1.0, 0, -30]])  # its horizon x = 30 lies outside the overlap, x ≥ 90
    assert metrics.corner_error(bent, true, (101, 101)) == np.inf
    assert metrics.overlap_error(bent, true, (101, 101), (101, 101)) < np.inf


def test_overlap_points_are_those_that_image_1_shows():
    true = np.array([[1, 0, -90.0], [0, 1, 0], [0, 0, 1]])  # image_1 begins at x = 90 of image_0
    points = metrics.overlap_points(true, (101, 101), (101, 101), steps=101)
    assert points[:, 0].min() == 90 and points[:, 0].max() == 100
    assert len(points) == 11 * 101


def test_overlap_error_looks_at_the_overlap_only():
    true = np.array([[1, 0, -90.0], [0, 1, 0], [0, 0, 1]])
    stretched = true.copy()
    stretched[0] = [1.1, 0, -99.0]  # exact at x = 90, 1 px wrong at x = 100, 9 px wrong at x = 0
    points = metrics.overlap_points(true, (101, 101), (101, 101))
    expected = np.mean(0.1 * (points[:, 0] - 90))
    error = metrics.overlap_error(stretched, true, (101, 101), (101, 101))
    assert error == pytest.approx(expected)
    assert error < 1 < metrics.corner_error(stretched, true, (101, 101))
    assert metrics.overlap_error(None, true, (101, 101), (101, 101)) == np.inf


def test_no_overlap_is_one_clear_error():
    away = np.array([[1, 0, 500.0], [0, 1, 0], [0, 0, 1]])
    with pytest.raises(ParameterError, match="no overlap"):
        metrics.overlap_error(np.eye(3), away, (100, 100), (100, 100))


def test_auc_by_hand():
    # one pair with error 1: the curve rises from (0, 0) to (1, 1), is held to 2: (1/2 + 1) / 2
    assert metrics.auc([1.0], [2.0]) == pytest.approx([0.75])
    # two pairs, one failed: rises to (1, 1/2), held to 2: (1/4 + 1/2) / 2
    assert metrics.auc([1.0, np.inf], [2.0]) == pytest.approx([0.375])
    # errors 1, 2, 4: up to 3 the knots are (0, 0), (1, 1/3), (2, 2/3), (3, 2/3): (1/6 + 1/2 + 2/3) / 3
    assert metrics.auc([4.0, 1.0, 2.0], [3.0]) == pytest.approx([(1 / 6 + 1 / 2 + 2 / 3) / 3])
    # all exact, all failed, all above the threshold
    assert metrics.auc([0.0, 0.0], [1.0]) == pytest.approx([1.0])
    assert metrics.auc([np.inf, np.inf], [1.0, 10.0]) == pytest.approx([0.0, 0.0])
    assert metrics.auc([5.0], [5.0]) == pytest.approx([0.0])


@pytest.mark.parametrize("errors", [[], [1.0, np.nan]])
def test_auc_refuses_what_has_no_answer(errors):
    with pytest.raises(ParameterError, match="AUC needs"):
        metrics.auc(errors, [1.0])
    with pytest.raises(ParameterError, match="above 0"):
        metrics.auc([1.0], [0.0])


def integrate(errors, threshold, steps=200_001):
    """The same area by another way: recall read off by interpolation on a fine grid, then a mean."""
    errors = np.sort(errors)
    finite = errors[errors < threshold]
    recall = np.arange(1, len(finite) + 1) / len(errors)
    x = (np.arange(steps) + 0.5) * threshold / steps
    return np.interp(x, np.concatenate([[0.0], finite]), np.concatenate([[0.0], recall])).mean()


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.one_of(st.floats(0.01, 20.0), st.just(float("inf"))), min_size=1, max_size=30),
    st.sampled_from([1.0, 3.0, 5.0, 10.0]),
)
def test_auc_agrees_with_an_independent_integral(errors, threshold):
    assert metrics.auc(errors, [threshold])[0] == pytest.approx(integrate(np.array(errors), threshold), abs=2e-4)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0, 30), min_size=1, max_size=20))
def test_auc_bounds(errors):
    areas = metrics.auc(errors, [1, 3, 5, 10])
    assert (areas >= 0).all() and (areas <= 1).all()
    assert (metrics.auc([*errors, np.inf], [1, 3, 5, 10]) <= areas + 1e-12).all()  # a failure more never helps


def ignores_thresholds(errors, thresholds):
    return metrics.auc(errors, [5, 10, 20][: len(thresholds)])


def drops_failures(errors, thresholds):
    kept = [e for e in errors if np.isfinite(e)]
    return metrics.auc(kept, thresholds)


@pytest.mark.parametrize("broken", [ignores_thresholds, drops_failures])
def test_the_independent_integral_catches_a_broken_auc(broken):
    errors, thresholds = np.array([0.4, 0.9, 2.5, 7.0, np.inf]), [1.0, 3.0, 5.0]
    truth = [integrate(errors, t) for t in thresholds]
    assert metrics.auc(errors, thresholds) == pytest.approx(truth, abs=1e-4)
    assert broken(errors, thresholds) != pytest.approx(truth, abs=0.05)


def test_w_for_w_minus_1_is_caught_by_the_hand_computed_corners(monkeypatch):
    monkeypatch.setattr(metrics, "corners", lambda size: np.array([[0, 0], [size[0], 0], size, [0, size[1]]], float))
    assert metrics.corner_error(DOUBLE, np.eye(3), (5, 3)) != pytest.approx((0 + 4 + np.sqrt(20) + 2) / 4, abs=0.1)


def test_failure_rate_counts_infinity_and_not_the_threshold_itself():
    assert metrics.failure_rate([0.1, 10.0, 10.1, np.inf]) == 0.5


POINTS = np.array([[0, 0], [10, 0], [0, 10], [5, 5]], dtype=float)
MOVED = POINTS + np.array([[3, 4], [3.5, 4], [3, 6], [33, 44]])  # 0, .5, 2 and 50 px off


def test_precision_and_median_by_hand():
    assert metrics.precision(POINTS, MOVED, SHIFT, [1, 3, 5]).tolist() == [0.5, 0.75, 0.75]
    assert metrics.median_correct(POINTS, MOVED, SHIFT) == pytest.approx(0.5)
    assert metrics.median_correct(POINTS, MOVED, SHIFT, threshold=1.0) == pytest.approx(0.25)


def test_no_matches_score_zero_and_no_median():
    empty = np.zeros((0, 2))
    assert metrics.precision(empty, empty, SHIFT, [1, 3]).tolist() == [0, 0]
    assert np.isnan(metrics.median_correct(empty, empty, SHIFT))


def test_the_direction_of_the_homography_matters():
    assert metrics.precision(POINTS, MOVED, np.linalg.inv(SHIFT), [1]).tolist() == [0]


def test_landmark_scores_by_hand():
    landmarks = np.array([[0, 0, 3, 4], [10, 0, 13, 4], [0, 10, 3, 20]], dtype=float)
    scores = metrics.landmark_scores(SHIFT, landmarks, (30, 40))
    assert scores == pytest.approx({"tre": 0.0, "rtre": 0.0, "max_rtre": 0.12, "initial": 5.0, "robustness": 1.0})
    worse = metrics.landmark_scores(DOUBLE, landmarks, (30, 40))  # (0,0)→(0,0), (10,0)→(20,0), (0,10)→(0,20)
    assert worse["tre"] == pytest.approx(5.0)
    assert worse["rtre"] == pytest.approx(0.1)
    assert worse["max_rtre"] == pytest.approx(np.hypot(7, 4) / 50)  # (20, 0) beside (13, 4)
    assert worse["robustness"] == pytest.approx(1 / 3)
    failed = metrics.landmark_scores(None, landmarks, (30, 40))
    assert failed["tre"] == failed["initial"] == pytest.approx(5.0) and failed["robustness"] == 0
    with pytest.raises(ParameterError, match="at least one"):
        metrics.landmark_scores(SHIFT, np.zeros((0, 4)), (30, 40))


def test_bootstrap_draws_sources_and_not_pairs():
    errors = np.repeat([0.0, 1.0], 50)
    sources = np.repeat(["a", "b"], 50)
    low, high = metrics.bootstrap_interval(lambda i: errors[i].mean(), sources)
    assert (low[0], high[0]) == (0.0, 1.0)  # two specimens say nothing; a hundred pairs would say .40 to .60
    by_pair = metrics.bootstrap_interval(lambda i: errors[i].mean(), [str(k) for k in range(100)])
    assert 0.35 < by_pair[0][0] < 0.45 and 0.55 < by_pair[1][0] < 0.65


def test_bootstrap_of_one_source_says_nothing_and_the_seed_decides():
    errors = np.arange(20.0)
    assert metrics.bootstrap_interval(lambda i: errors[i].mean(), ["a"] * 20) is None
    sources = [str(k % 7) for k in range(20)]
    first = metrics.bootstrap_interval(lambda i: errors[i].mean(), sources, seed=1)
    again = metrics.bootstrap_interval(lambda i: errors[i].mean(), sources, seed=1)
    other = metrics.bootstrap_interval(lambda i: errors[i].mean(), sources, seed=2, resamples=50)
    assert first == again and first != other


def test_bootstrap_covers_the_truth_about_as_often_as_it_says():
    generator = np.random.default_rng(0)
    hits = 0
    for trial in range(60):
        values = np.repeat(generator.normal(size=25), 4)
        sources = np.repeat(np.arange(25), 4)
        low, high = metrics.bootstrap_interval(lambda i, v=values: v[i].mean(), sources, resamples=200, seed=trial)
        hits += low[0] <= 0 <= high[0]
    assert hits >= 50


def test_bootstrap_leaves_nan_out():
    values = np.array([np.nan, 1.0, 3.0])
    low, high = metrics.bootstrap_interval(
        lambda i: np.nanmean(values[i]) if np.isfinite(values[i]).any() else np.nan, ["a", "b", "c"]
    )
    assert (low[0], high[0]) == (1.0, 3.0)


def test_the_note_is_worked_by_hand_and_true():
    note = (Path(__file__).parents[1] / "docs_obsidian" / "reference" / "metrics.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python\n(.*?)^```", note, re.DOTALL | re.MULTILINE)
    assert block.count("near(") > 12
    exec(compile(block, "metrics.md", "exec"), {})
    with pytest.raises(AssertionError):  # the block can fail
        exec(compile(block.replace("[3]), 0.5)", "[3]), 0.6)"), "metrics.md", "exec"), {})
