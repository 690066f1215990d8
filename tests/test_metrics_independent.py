"""Our scores beside those of other libraries on the same matches; and a score broken on purpose is told apart.

Each check computes a number by our code and by another implementation (kornia, scikit-image, SciPy, PoseLib) and
asserts that they agree. Each fault is one way in which scores have been wrong somewhere; with it planted in our code,
its check must fail.
"""

from collections.abc import Callable

import kornia.geometry
import numpy as np
import poselib
import pytest
import torch
from scipy import integrate, stats
from scipy.spatial.transform import Rotation
from skimage.transform import ProjectiveTransform

from microloftr import calibration
from microloftr.errors import ParameterError
from microloftr.evaluation import metrics, metrics_landmarks, metrics_pose
from microloftr.registration.families import find_homography

SIZE_0, SIZE_1 = (64, 48), (60, 56)  # small, so that w for w − 1 shows
THRESHOLDS = (1.0, 3.0, 5.0, 10.0)
FOCAL = 500.0
CAMERA_0 = np.array([[FOCAL, 0, 320.0], [0, FOCAL, 240.0], [0, 0, 1]])
CAMERA_1 = np.array([[1.2 * FOCAL, 0, 300.0], [0, 1.1 * FOCAL, 250.0], [0, 0, 1]])


def true_homography(generator: np.random.Generator) -> np.ndarray:
    angle, scale = generator.uniform(-0.5, 0.5), generator.uniform(0.8, 1.25)
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[c, -s, *generator.uniform(-8, 8, 1)], [s, c, 3.0], [*generator.uniform(-8e-4, 8e-4, 2), 1]])


def made_matches() -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """The true homography, points_0 and points_1 of 24 pairs, easy to hopeless; three without enough matches."""
    generator, pairs = np.random.default_rng(4), []
    for number in range(24):
        true = true_homography(generator)
        points_0 = generator.uniform(0, np.array(SIZE_0) - 1, size=(80 if number % 8 else 2, 2))
        points_1 = ProjectiveTransform(true)(points_0) + generator.normal(0, 0.15 * 1.2**number, size=points_0.shape)
        wrong = generator.uniform(size=len(points_0)) < 0.25
        points_1[wrong] = generator.uniform(0, SIZE_1, size=(wrong.sum(), 2))
        pairs.append((true, points_0, points_1))
    return pairs


MATCHES = made_matches()
FOUND = [find_homography(points_0, points_1, 2.0)[0] for _, points_0, points_1 in MATCHES]


def corners_by_hand(size: tuple[int, int]) -> list[list[float]]:
    return [[x, y] for x in (0.0, size[0] - 1.0) for y in (0.0, size[1] - 1.0)]


def kornia_corner_error(found: np.ndarray | None, true: np.ndarray) -> float:
    if found is None:
        return np.inf
    points = torch.tensor([corners_by_hand(SIZE_0)], dtype=torch.float64)
    moved = [kornia.geometry.linalg.transform_points(torch.tensor(m)[None], points) for m in (found, true)]
    return float((moved[0] - moved[1]).norm(dim=-1).mean())


def integral_auc(errors: list[float], threshold: float) -> float:
    """Recall in straight lines between the errors, by adaptive quadrature."""
    finite = sorted(error for error in errors if error < threshold)
    share = np.arange(len(finite) + 1) / len(errors)
    if not finite:
        return 0.0
    area, _ = integrate.quad(
        lambda x: np.interp(x, [0.0, *finite], share), 0, threshold, points=sorted({*finite}), limit=200
    )
    return area / threshold


def check_corner_error() -> None:
    for found, (true, _, _) in zip(FOUND, MATCHES, strict=True):
        assert metrics.corner_error(found, true, SIZE_0) == pytest.approx(kornia_corner_error(found, true), rel=1e-6)


def check_auc() -> None:
    """The whole way: the same matches, the same homographies; errors by kornia, area by SciPy."""
    ours = [metrics.corner_error(found, true, SIZE_0) for found, (true, _, _) in zip(FOUND, MATCHES, strict=True)]
    theirs = [kornia_corner_error(found, true) for found, (true, _, _) in zip(FOUND, MATCHES, strict=True)]
    assert sum(map(np.isinf, theirs)) == 3
    expected = [integral_auc(theirs, threshold) for threshold in THRESHOLDS]
    assert 0.05 < expected[0] < expected[3] < 0.95
    assert metrics.auc(ours, THRESHOLDS) == pytest.approx(expected, abs=1e-6)


def check_overlap_error() -> None:
    true = np.array([[1.0, 0, -40.0], [0, 1, 5.0], [0, 0, 1]])
    estimated = np.array([[1.05, 0.02, -42.0], [-0.02, 1.0, 6.0], [1e-4, 0, 1]])
    x, y = np.meshgrid(np.linspace(0, SIZE_0[0] - 1, 64), np.linspace(0, SIZE_0[1] - 1, 64))
    points = np.stack([x.ravel(), y.ravel()], axis=-1)
    there = ProjectiveTransform(true)(points)
    shown = (there[:, 0] >= -0.5) & (there[:, 0] <= 59.5) & (there[:, 1] >= -0.5) & (there[:, 1] <= 55.5)
    assert 0 < shown.sum() < len(shown)
    residuals = ProjectiveTransform(estimated).residuals(points[shown], there[shown])
    assert metrics.overlap_error(estimated, true, SIZE_0, SIZE_1) == pytest.approx(residuals.mean(), rel=1e-9)


def check_precision() -> None:
    """Mean over pairs; a pair without matches has 0 and stays."""
    empty = np.zeros((0, 2))
    pairs = [*MATCHES, (np.eye(3), empty, empty)]
    ours = np.mean([metrics.precision(p0, p1, true, THRESHOLDS) for true, p0, p1 in pairs], axis=0)
    shares = []
    for true, points_0, points_1 in MATCHES:
        error = ProjectiveTransform(true).residuals(points_0, points_1)
        shares.append([(error < threshold).mean() for threshold in THRESHOLDS])
    assert ours == pytest.approx(np.sum(shares, axis=0) / (len(MATCHES) + 1))


def check_failure_rate() -> None:
    errors = [0.5, 9.0, 11.0, np.inf, np.inf]
    assert metrics.failure_rate(errors) == pytest.approx(1 - stats.percentileofscore(errors, 10.0, kind="weak") / 100)


def made_views() -> list[tuple[metrics_pose.Pose, np.ndarray, np.ndarray]]:
    """True pose and matched points of 14 pairs of photographs of one made scene; two have too few matches."""
    generator, views = np.random.default_rng(7), []
    for number in range(14):
        rotation = Rotation.from_rotvec(generator.uniform(-0.3, 0.3, 3)).as_matrix()
        translation = generator.normal(size=3)
        translation /= np.linalg.norm(translation)
        scene = generator.uniform([-2, -2, 4], [2, 2, 8], (200 if number % 7 else 4, 3))
        moved = scene @ rotation.T + translation
        images = [points @ camera.T for points, camera in ((scene, CAMERA_0), (moved, CAMERA_1))]
        points = [
            image[:, :2] / image[:, 2:] + generator.normal(0, 0.1 * 1.25**number, (len(image), 2)) for image in images
        ]
        wrong = np.arange(len(scene)) % 5 == 4
        points[1][wrong] = generator.uniform(0, 600, (wrong.sum(), 2))
        views.append(((rotation, translation), *points))
    return views


VIEWS = made_views()
POSES = [metrics_pose.relative_pose(points_0, points_1, CAMERA_0, CAMERA_1) for _, points_0, points_1 in VIEWS]


def scipy_pose_error(found: metrics_pose.Pose | None, true: metrics_pose.Pose) -> float:
    if found is None:
        return np.inf
    turn = np.rad2deg((Rotation.from_matrix(found[0]).inv() * Rotation.from_matrix(true[0])).magnitude())
    directions = [Rotation.align_vectors([sign * found[1]], [true[1]])[0].magnitude() for sign in (1, -1)]
    return max(turn, np.rad2deg(min(directions)))


def check_pose_auc() -> None:
    for found, (true, _, _) in zip(POSES, VIEWS, strict=True):
        if found is not None:
            turn = (Rotation.from_matrix(found[0]).inv() * Rotation.from_matrix(true[0])).magnitude()
            assert metrics_pose.rotation_error(found[0], true[0]) == pytest.approx(np.rad2deg(turn), abs=1e-4)
    ours = [metrics_pose.pose_error(found, true) for found, (true, _, _) in zip(POSES, VIEWS, strict=True)]
    theirs = [scipy_pose_error(found, true) for found, (true, _, _) in zip(POSES, VIEWS, strict=True)]
    assert ours == pytest.approx(theirs, abs=1e-4) and np.isinf(ours).sum() == 2
    expected = [integral_auc(theirs, threshold) for threshold in (5, 10, 20)]
    assert 0.1 < expected[0] < expected[2] < 0.9
    assert metrics_pose.pose_auc(ours) == pytest.approx(expected, abs=1e-6)
    flipped = [(found[0], -found[1]) if found else None for found in POSES]
    assert [metrics_pose.pose_error(f, true) for f, (true, _, _) in zip(flipped, VIEWS, strict=True)] == pytest.approx(
        ours
    )


def check_epipolar_distances() -> None:
    for true, points_0, points_1 in VIEWS[1:4]:
        rays = [
            kornia.geometry.linalg.transform_points(torch.tensor(np.linalg.inv(c))[None], torch.tensor(p)[None])
            for p, c in ((points_0, CAMERA_0), (points_1, CAMERA_1))
        ]
        x, y, z = true[1]
        essential = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]) @ true[0]
        theirs = kornia.geometry.epipolar.symmetrical_epipolar_distance(
            *rays, torch.tensor(essential)[None], squared=True, eps=0.0
        )
        ours = metrics_pose.epipolar_distances(points_0, points_1, CAMERA_0, CAMERA_1, true)
        assert ours == pytest.approx(theirs[0].numpy(), rel=1e-6)


LANDMARKS = np.random.default_rng(2).uniform(0, 47, (9, 4))
LANDMARKS[:, 2:] = LANDMARKS[:, :2] + [6, -2] + np.random.default_rng(3).normal(0, 1, (9, 2))
MOVE = np.array([[1, 0, 5.0], [0, 1, -2.0], [0, 0, 1]])


def check_landmarks() -> None:
    diagonal = np.linalg.norm(SIZE_1)
    after = ProjectiveTransform(MOVE).residuals(LANDMARKS[:, :2], LANDMARKS[:, 2:])
    before = ProjectiveTransform(np.eye(3)).residuals(LANDMARKS[:, :2], LANDMARKS[:, 2:])
    expected = {"tre": np.percentile(after, 50), "rtre": np.percentile(after, 50) / diagonal}
    expected |= {"max_rtre": after.max() / diagonal, "initial": np.percentile(before, 50)}
    expected |= {"robustness": np.count_nonzero(after < before) / 9}
    assert metrics.landmark_scores(MOVE, LANDMARKS, SIZE_1) == pytest.approx(expected)
    relative = metrics_landmarks.relative_errors(MOVE, LANDMARKS, SIZE_1)
    assert relative == pytest.approx(after / diagonal)
    assert metrics_landmarks.relative_errors(None, LANDMARKS, SIZE_1) == pytest.approx(before / diagonal)
    averages = metrics_landmarks.over_pairs([relative, before / diagonal, np.array([0.5])])
    medians, largest = (
        [f(after) / diagonal, f(before) / diagonal, 0.5] for f in (lambda v: np.percentile(v, 50), np.max)
    )
    assert averages["AMrTRE"] == pytest.approx(stats.tmean(medians))
    assert averages["MMrTRE"] == pytest.approx(np.percentile(medians, 50))
    assert averages["AMxrTRE"] == pytest.approx(stats.tmean(largest))
    assert averages["MMxrTRE"] == pytest.approx(np.percentile(largest, 50))


def check_ranks() -> None:
    table = np.array([[0.1, 0.2, 0.2, np.inf], [0.1, 0.1, 0.3, 0.4], [0.3, 0.5, 0.2, 0.2]])
    assert metrics_landmarks.mean_ranks(table) == pytest.approx(stats.rankdata(table, axis=0).mean(axis=1))


def check_calibration_error() -> None:
    generator = np.random.default_rng(5)
    confidence = np.append(generator.beta(2, 1, 500), [0.0, 1.0, 1.0])
    correct = generator.uniform(size=503) < np.where(confidence > 0.5, confidence**3, confidence**0.5)
    edges = np.linspace(0, 1, 11)
    count, _, _ = stats.binned_statistic(confidence, correct, "count", edges)
    share, _, _ = stats.binned_statistic(confidence, correct, "mean", edges)
    mean, _, _ = stats.binned_statistic(confidence, confidence, "mean", edges)
    expected = np.nansum(count / 503 * np.abs(share - mean))
    assert expected > 0.05
    assert calibration.calibration_error(calibration.bin_sums(confidence, correct)) == pytest.approx(expected)


CHECKS = [value for name, value in sorted(globals().items()) if name.startswith("check_")]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_our_scores_are_those_of_other_libraries(check):
    check()


AUC, PRECISION, LANDMARK_SCORES = metrics.auc, metrics.precision, metrics.landmark_scores
CORNER_ERROR, RELATIVE, OVER_PAIRS = (
    metrics.corner_error,
    metrics_landmarks.relative_errors,
    metrics_landmarks.over_pairs,
)
ROTATION, TRANSLATION = metrics_pose.rotation_error, metrics_pose.translation_error


def whole_image(true, size_0, size_1, steps=64):
    x, y = (np.linspace(0, side - 1, steps) for side in size_0)
    return np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)


def held_to_nothing(errors, thresholds):
    """Trapezoids up to the last error below the threshold, not up to the threshold."""
    ordered = np.concatenate([[0.0], np.sort(errors)])
    recall = np.linspace(0, 1, len(ordered))
    return np.array([np.trapezoid(recall[ordered < t], ordered[ordered < t]) / t for t in thresholds])


def as_steps(errors, thresholds):
    """Recall as steps, which other papers use: not this convention."""
    return np.array([np.clip(t - np.array(errors), 0, None).mean() / t for t in thresholds])


def signed_gaps(sums):
    return abs((sums[:, 1] - sums[:, 2]).sum()) / sums[:, 0].sum()


def unweighted_bins(sums):
    filled = sums[sums[:, 0] > 0]
    return np.mean(np.abs(filled[:, 1] - filled[:, 2]) / filled[:, 0])


Fault = tuple[Callable[[], None], object, str, Callable]
FAULTS: dict[str, Fault] = {
    "w for w − 1": (
        check_corner_error, metrics, "corners",
        lambda s: np.array([[0, 0], [s[0], 0], [s[0], s[1]], [0, s[1]]], float),
    ),
    "width and height swapped": (
        check_corner_error, metrics, "corners",
        lambda s: np.array([[0, 0], [s[1] - 1, 0], [s[1] - 1, s[0] - 1], [0, s[0] - 1]], float),
    ),
    "the corners' error in the frame of image_0": (
        check_corner_error, metrics, "corner_error",
        lambda e, t, s: CORNER_ERROR(None if e is None else np.linalg.inv(e), np.linalg.inv(t), s),
    ),
    "corners pushed through w − 1 twice": (
        check_auc, metrics, "corners",
        lambda s: np.array([[0, 0], [s[0] - 2, 0], [s[0] - 2, s[1] - 2], [0, s[1] - 2]], float),
    ),
    "AUC: thresholds ignored": (check_auc, metrics, "auc", lambda e, t: AUC(e, [5, 10, 20, 20][: len(t)])),
    "AUC: failures dropped": (check_auc, metrics, "auc", lambda e, t: AUC([x for x in e if np.isfinite(x)], t)),
    "AUC: failures as 10 px": (check_auc, metrics, "auc", lambda e, t: AUC(np.minimum(e, 9.0), t)),
    "AUC: not held up to the threshold": (check_auc, metrics, "auc", held_to_nothing),
    "AUC: steps": (check_auc, metrics, "auc", as_steps),
    "the overlap is all of image_0": (check_overlap_error, metrics, "overlap_points", whole_image),
    "precision: threshold ignored": (
        check_precision, metrics, "precision", lambda p, q, h, t: PRECISION(p, q, h, [3.0] * len(t)),
    ),
    "precision: squared distances": (
        check_precision, metrics, "precision", lambda p, q, h, t: PRECISION(p, q, h, np.sqrt(t)),
    ),
    "precision: a pair without matches is perfect": (
        check_precision, metrics, "precision", lambda p, q, h, t: PRECISION(p, q, h, t) if len(p) else np.ones(len(t)),
    ),
    "failures: infinity is none": (
        check_failure_rate, metrics, "failure_rate",
        lambda e, t=10.0: np.mean([x > t for x in e if np.isfinite(x)]),
    ),
    "pose: radians": (check_pose_auc, metrics_pose, "rotation_error", lambda e, t: np.deg2rad(ROTATION(e, t))),
    "pose: t is not −t": (
        check_pose_auc, metrics_pose, "translation_error",
        lambda e, t: np.rad2deg(np.arccos(np.clip(np.dot(e, t) / np.linalg.norm(e) / np.linalg.norm(t), -1, 1))),
    ),
    "pose: the translation is forgotten": (check_pose_auc, metrics_pose, "translation_error", lambda e, t: 0.0),
    "pose: failures are 180°": (
        check_pose_auc, metrics_pose, "pose_error",
        lambda e, t: 180.0 if e is None else max(ROTATION(e[0], t[0]), TRANSLATION(e[1], t[1])),
    ),
    "pose: one camera for both": (
        check_epipolar_distances, metrics_pose, "on_unit_plane", lambda p, c: (p - CAMERA_0[:2, 2]) / FOCAL,
    ),
    "landmarks: the mean for the median": (
        check_landmarks, metrics, "landmark_scores",
        lambda e, k, s: LANDMARK_SCORES(e, k, s) | {"tre": float(metrics.distances(e, k[:, :2], k[:, 2:]).mean())},
    ),
    "landmarks: half the sides for a diagonal": (
        check_landmarks, metrics, "landmark_scores", lambda e, k, s: LANDMARK_SCORES(e, k, (s[0] / 2, s[1] / 2)),
    ),
    "landmarks: diagonal of image_0": (
        check_landmarks, metrics_landmarks, "relative_errors", lambda e, k, s: RELATIVE(e, k, SIZE_0),
    ),
    "landmarks: a failed pair is left out": (
        check_landmarks, metrics_landmarks, "over_pairs", lambda errors: OVER_PAIRS(errors[:-1]),
    ),
    "ranks: ties are won": (
        check_ranks, metrics_landmarks, "mean_ranks",
        lambda m: 1 + (np.asarray(m)[None] < np.asarray(m)[:, None]).sum(axis=1).mean(axis=1),
    ),
    "ECE: too sure and too modest cancel": (check_calibration_error, calibration, "calibration_error", signed_gaps),
    "ECE: every bin counts the same": (check_calibration_error, calibration, "calibration_error", unweighted_bins),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_score_broken_on_purpose_is_caught(fault, monkeypatch):
    check, module, name, broken = FAULTS[fault]
    monkeypatch.setattr(module, name, broken)
    with pytest.raises(AssertionError):
        check()


def test_another_estimator_reaches_about_the_same_auc():
    """PoseLib's robust homography on the same matches: the estimator decides less than the matches do."""
    theirs = []
    for true, points_0, points_1 in MATCHES[:12]:  # with more noise than the thresholds bear, estimators part
        found = None
        if len(points_0) >= 4:
            found, _ = poselib.estimate_homography(points_0, points_1, {"max_error": 2.0, "seed": 1}, {})
        theirs.append(kornia_corner_error(found, true))
    ours = [
        metrics.corner_error(found, true, SIZE_0) for found, (true, _, _) in zip(FOUND[:12], MATCHES[:12], strict=True)
    ]
    assert metrics.auc(ours, THRESHOLDS) == pytest.approx([integral_auc(theirs, t) for t in THRESHOLDS], abs=0.05)


def test_another_solver_finds_about_the_same_poses():
    theirs = []
    for true, points_0, points_1 in VIEWS:
        if len(points_0) < 5:
            theirs.append(np.inf)
            continue
        cameras = [
            {"model": "PINHOLE", "width": 640, "height": 480, "params": [c[0, 0], c[1, 1], c[0, 2], c[1, 2]]}
            for c in (CAMERA_0, CAMERA_1)
        ]
        found, _ = poselib.estimate_relative_pose(
            points_0, points_1, *cameras, {"max_epipolar_error": 1.0, "seed": 1}, {}
        )
        theirs.append(metrics_pose.pose_error((found.R, found.t), true))
    ours = [metrics_pose.pose_error(found, true) for found, (true, _, _) in zip(POSES, VIEWS, strict=True)]
    assert metrics_pose.pose_auc(ours)[1:] == pytest.approx(metrics_pose.pose_auc(theirs)[1:], abs=0.1)


def test_a_pose_without_noise_is_found_exactly():
    (rotation, translation), _, _ = VIEWS[1]
    scene = np.random.default_rng(0).uniform([-2, -2, 4], [2, 2, 8], (60, 3))
    moved = scene @ rotation.T + translation
    points = [(p @ c.T)[:, :2] / p[:, 2:] for p, c in ((scene, CAMERA_0), (moved, CAMERA_1))]
    found = metrics_pose.relative_pose(*points, CAMERA_0, CAMERA_1)
    assert metrics_pose.pose_error(found, (rotation, translation)) < 1e-3
    assert metrics_pose.relative_pose(points[0][:4], points[1][:4], CAMERA_0, CAMERA_1) is None
    assert metrics_pose.translation_error(translation, np.zeros(3)) == 0.0
    with pytest.raises(ParameterError, match="direction"):
        metrics_pose.translation_error(np.zeros(3), translation)


def test_pose_errors_by_hand():
    quarter = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1.0]])
    assert metrics_pose.rotation_error(quarter, np.eye(3)) == pytest.approx(90)
    assert metrics_pose.translation_error([1.0, 0, 0], [-2.0, 0, 0]) == pytest.approx(0, abs=1e-6)
    assert metrics_pose.translation_error([1.0, 0, 0], [1.0, 1.0, 0]) == pytest.approx(45)
    assert metrics_pose.pose_error(
        (quarter, np.array([1.0, 0, 0])), (np.eye(3), np.array([0, 1.0, 0]))
    ) == pytest.approx(90)
    assert metrics_pose.pose_error(None, (np.eye(3), np.ones(3))) == np.inf


def test_landmarks_over_pairs_by_hand():
    pairs = [np.array([0.1, 0.2, 0.6]), np.array([0.0, 0.4]), np.array([0.3])]
    assert metrics_landmarks.over_pairs(pairs) == pytest.approx(
        {"AMrTRE": (0.2 + 0.2 + 0.3) / 3, "MMrTRE": 0.2, "AMxrTRE": (0.6 + 0.4 + 0.3) / 3, "MMxrTRE": 0.4}
    )
    with pytest.raises(ParameterError, match="one pair or more"):
        metrics_landmarks.over_pairs([])
    with pytest.raises(ParameterError, match="one pair or more"):
        metrics_landmarks.over_pairs([np.zeros(0)])


def test_ranks_by_hand():
    # pair 1: a, b tie on 1 and 2, c is 3; pair 2: c, a, b
    assert metrics_landmarks.mean_ranks([[0.1, 0.2], [0.1, 0.3], [0.4, 0.1]]) == pytest.approx([1.75, 2.25, 2.0])
    with pytest.raises(ParameterError, match="without NaN"):
        metrics_landmarks.mean_ranks([[0.1, np.nan]])
