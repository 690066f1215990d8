"""Transform and its estimation: each family found again, unrelated points refused, one frame for all tools."""

import json
import re

import cv2
import numpy as np
import pytest

from microloftr import Matches, Transform
from microloftr.errors import ParameterError, TransformError
from microloftr.registration import estimate_transform, find_homography, try_family
from microloftr.registration.families import FAMILIES, fit_family, fit_robust, move_points
from microloftr.registration.plausible import corner_points, impossible, log10_chance, undetermined

SIZE = (640, 480)


def true_matrix(family: str, generator: np.random.Generator) -> np.ndarray:
    """A matrix that is clearly of its family, so that no simpler one explains it, turned and moved at random."""
    angle, size = generator.uniform(-np.pi, np.pi), np.exp(generator.choice([-1, 1]) * generator.uniform(0.1, 0.5))
    linear = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    if family == "translation":
        linear = np.eye(2)
    if family in ("similarity", "affine", "homography"):
        linear = linear * size
    if family in ("affine", "homography"):
        linear = linear @ [[1, generator.uniform(0.03, 0.1)], [0, generator.uniform(1.02, 1.1)]]
    centre = (np.array(SIZE) - 1) / 2
    matrix, perspective = np.eye(3), np.eye(3)
    matrix[:2, :2] = linear
    matrix[:2, 2] = generator.uniform(-60, 60, 2) + centre
    if family == "homography":
        perspective[2, :2] = generator.uniform(5e-5, 2e-4, 2) * generator.choice([-1, 1], 2)
    to_centre = np.eye(3)
    to_centre[:2, 2] = -centre
    matrix = matrix @ perspective @ to_centre
    return matrix / matrix[2, 2]


def synthetic(family: str, seed: int, number: int = 200, wrong: float = 0.4, noise: float = 0.5):
    """Matches of which a share is wrong and the rest off by Gaussian noise (σ per axis, px), and the true matrix."""
    generator = np.random.default_rng(seed)
    matrix = true_matrix(family, generator)
    points_0 = generator.uniform(0, np.array(SIZE) - 1, (20 * number, 2))
    points_1 = move_points(points_0, matrix)
    inside = ((points_1 >= 0) & (points_1 <= np.array(SIZE) - 1)).all(axis=1)
    points_0, points_1 = points_0[inside][:number], points_1[inside][:number]
    points_1 = points_1 + generator.normal(0, noise, points_1.shape)
    lost = int(wrong * len(points_1))
    points_1[:lost] = generator.uniform(0, np.array(SIZE) - 1, (lost, 2))
    return Matches(points_0, points_1, np.full(len(points_0), 0.5), SIZE, SIZE), matrix


def unrelated(seed: int, number: int, size: tuple[int, int], kind: str = "uniform") -> Matches:
    """Points of image_1 that have nothing to do with those of image_0, in the patterns that matchers give."""
    generator = np.random.default_rng(seed)
    points_0, points_1 = generator.uniform(0, size, (2, number, 2))
    if kind == "grid":
        points_0, points_1 = points_0 // 8 * 8, points_1 // 8 * 8
    if kind == "clusters":
        centres = generator.uniform(0, size, (4, 2))
        points_1 = centres[generator.integers(4, size=number)] + generator.normal(0, size[0] / 20, (number, 2))
    return Matches(points_0, points_1, np.full(number, 0.5), size, size)


def error_at(transform: Transform, matrix: np.ndarray, points: np.ndarray) -> float:
    return float(np.linalg.norm(transform.apply(points) - move_points(points, matrix), axis=1).mean())


@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "homography"])
def test_closed_forms_are_exact_and_work_in_batches(family):
    matrices = np.stack([true_matrix(family, np.random.default_rng(seed)) for seed in range(4)])
    points_0 = np.random.default_rng(9).uniform(0, 600, (4, 12, 2))
    points_1 = move_points(points_0, matrices)
    np.testing.assert_allclose(fit_family(family, points_0, points_1), matrices, atol=1e-9)
    points_1[:, 0] += 1000  # a match of weight 0 must not count
    weights = np.ones((4, 12))
    weights[:, 0] = 0
    np.testing.assert_allclose(fit_family(family, points_0, points_1, weights), matrices, atol=1e-9)


def test_closed_forms_minimise_the_squared_distance():
    matches, _ = synthetic("affine", 1, wrong=0, noise=2.0)

    def cost(matrix: np.ndarray) -> float:
        return float(((move_points(matches.points_0, matrix) - matches.points_1) ** 2).sum())

    for family in ("translation", "rigid", "similarity", "affine"):
        best = fit_family(family, matches.points_0, matches.points_1)
        for angle, scale, shift in (
            (1e-3, 1, 0),
            (-1e-3, 1, 0),
            (0, 1.001, 0),
            (0, 0.999, 0),
            (0, 1, 0.1),
            (0, 1, -0.1),
        ):
            if (angle and family == "translation") or (scale != 1 and family in ("translation", "rigid")):
                continue
            turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
            other = best.copy()
            other[:2, :2] = turn @ best[:2, :2]
            other[:2, 2] = turn @ (best[:2, 2] - matches.points_1.mean(0)) + matches.points_1.mean(0) + shift
            assert cost(other) > cost(best)


@pytest.mark.parametrize("family", FAMILIES)
def test_auto_finds_each_family_again(family):
    found = []
    for seed in range(8):
        matches, matrix = synthetic(family, seed)
        transform = matches.estimate()
        found.append(transform.family)
        assert error_at(transform, matrix, matches.points_0) < 0.35
        assert abs(transform.n_inliers - 120) <= 4  # three in five are right
    assert found.count(family) >= 7


@pytest.mark.parametrize("family", FAMILIES)
def test_the_family_asked_for_is_used_and_more_wrong_matches_are_survived(family):
    for seed in range(3):
        matches, matrix = synthetic(family, seed, number=300, wrong=0.75, noise=0.4)
        transform = matches.estimate(family)
        assert transform.family == family
        assert error_at(transform, matrix, matches.points_0) < 0.5


def test_a_simple_truth_is_met_better_by_the_simple_family():
    """Tiles: matches in a narrow strip, truth a translation; a homography swings wildly far from the strip."""
    generator = np.random.default_rng(0)
    points = generator.uniform([560, 0], [640, 480], (60, 2))
    matches = Matches(points, points - [550.3, 2.7] + generator.normal(0, 0.4, (60, 2)), np.ones(60), SIZE, SIZE)
    truth = np.array([[1, 0, -550.3], [0, 1, -2.7], [0, 0, 1]])
    auto = matches.estimate()
    assert auto.family == "translation"
    assert error_at(auto, truth, corner_points(SIZE)) < 0.2
    swinging, _ = find_homography(matches.points_0, matches.points_1)
    assert np.linalg.norm(move_points(corner_points(SIZE), swinging) - corner_points(SIZE) + [550.3, 2.7]) > 4


def test_the_same_matches_give_the_same_transform():
    matches, _ = synthetic("homography", 5, wrong=0.6)
    for family in FAMILIES:
        first, second = (fit_robust(family, matches.points_0, matches.points_1, 2.0) for _ in range(2))
        np.testing.assert_array_equal(first, second)


def test_find_homography_is_opencvs_magsac():
    for seed in range(5):
        matches, matrix = synthetic("homography", seed, wrong=0.5)
        found, inliers = find_homography(matches.points_0, matches.points_1)
        reference, mask = cv2.findHomography(matches.points_0, matches.points_1, cv2.USAC_MAGSAC, 2.0, maxIters=10000)
        points = matches.points_0
        np.testing.assert_allclose(move_points(points, found), move_points(points, reference), atol=0.3)
        assert inliers.dtype == bool and abs(int(inliers.sum()) - int(mask.sum())) <= 1
        assert found[2, 2] == 1 and found.dtype == np.float64
        assert np.linalg.norm(move_points(points, found) - move_points(points, matrix), axis=1).mean() < 0.4


@pytest.mark.parametrize("number", range(5))
def test_find_homography_of_next_to_nothing(number):
    points = np.random.default_rng(0).uniform(0, 100, (number, 2)).astype(np.float32)
    matrix, inliers = find_homography(points, points)
    assert inliers.shape == (number,) and (matrix is None or number >= 4)
    same, nobody = find_homography(np.ones((9, 2)), np.ones((9, 2)))
    assert same is None and nobody.tolist() == [False] * 9


def test_unrelated_matches_give_no_transform():
    """Over sizes, numbers, thresholds and patterns; the bound promises one false alarm in 10 000."""
    for seed in range(60):
        number, size = (5, 8, 20, 40, 120)[seed % 5], ((64, 64), (320, 240), (2048, 2048))[seed // 5 % 3]
        kind, threshold = ("uniform", "grid", "clusters")[seed // 15 % 3], (1.0, 2.0, 5.0)[seed % 3]
        assert unrelated(seed, number, size, kind).estimate("auto", threshold) is None


def test_the_bound_is_what_refuses_them():
    """In small images enough unrelated matches agree; counting inliers alone would take them."""
    matches = unrelated(1, 400, (64, 64))
    reasons = [try_family(matches, family, threshold=3.0) for family in FAMILIES]
    assert all(isinstance(reason, str) and "chance" in reason for reason in reasons)


def test_chance_bound_is_an_upper_bound_for_a_shift():
    """Best shifts of unrelated points: as many as 10^bound of them may reach the bound, on the mean."""
    alarms = 0
    for seed in range(60):
        matches = unrelated(seed, 60, (100, 100))
        matrix = fit_robust("translation", matches.points_0, matches.points_1, 4.0)
        inliers = np.linalg.norm(move_points(matches.points_0, matrix) - matches.points_1, axis=1) <= 4
        alarms += log10_chance(1, matches.points_0, matches.points_1, inliers, 4.0, (100, 100), (100, 100)) < -1
    assert alarms <= 12  # 60 trials · 10^-1 = 6 expected at most


def test_one_patch_that_agrees_among_wrong_matches_is_no_transform():
    """Matchers give neighbours the same wrong shift: many inliers, but all in one place."""
    matches = unrelated(3, 60, (640, 640))
    points_0, points_1 = matches.points_0.copy(), matches.points_1.copy()
    points_0[:12] = np.array([[300, 300]]) + np.random.default_rng(0).uniform(0, 20, (12, 2))
    points_1[:12] = points_0[:12] + [100, -50]
    patch = Matches(points_0, points_1, matches.confidence, (640, 640), (640, 640))
    assert patch.estimate() is None
    points_0[:12] = np.random.default_rng(0).uniform(100, 500, (12, 2))  # the same number spread out is believed
    points_1[:12] = points_0[:12] + [100, -50]
    assert Matches(points_0, points_1, matches.confidence, (640, 640), (640, 640)).estimate() is not None


def test_points_on_a_line_do_not_determine_an_affine_map():
    generator = np.random.default_rng(2)
    along = generator.uniform(0, 600, 40)
    points = np.stack([along, 0.5 * along + 50], axis=1) + generator.normal(0, 0.3, (40, 2))
    matches = Matches(points, points + [5, 7] + generator.normal(0, 0.3, (40, 2)), np.ones(40), SIZE, SIZE)
    for family in ("affine", "homography"):
        assert "on one line" in try_family(matches, family)
        assert matches.estimate(family) is None
    assert matches.estimate().family == "translation"


def test_points_at_one_spot_do_not_determine_an_angle():
    points, everyone = 100 + np.random.default_rng(2).uniform(0, 3, (40, 2)), np.ones(40, dtype=bool)
    for family in ("rigid", "similarity"):
        assert "at one spot" in undetermined(family, points, everyone, threshold=2.0)
        assert undetermined(family, 10 * points, everyone, threshold=2.0) is None
    assert undetermined("translation", points, everyone, threshold=2.0) is None


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.diag([1.0, -1.0, 1.0]), "mirrors"),
        (np.diag([9.0, 9.0, 1.0]), "scales by 9"),
        (np.diag([1.0, 0.1, 1.0]), r"scales by 0\.1"),
        (np.array([[1.0, 0, 0], [0, 1, 0], [-0.01, 0, 1]]), "folds"),
        (np.array([[1.0, 0, 0], [0, 1, 0], [0.01, 0, 1]]), "folds"),
        (np.array([[1.0, 0, 0], [1.0, 0, 0], [0, 0, 1]]), "line"),
    ],
)
def test_impossible_transforms_are_named(matrix, message):
    assert impossible(np.eye(3), SIZE, SIZE) is None
    reason = impossible(matrix, SIZE, SIZE)
    assert reason and re.search(message, reason)


@pytest.mark.parametrize(
    ("linear", "shift"),
    [([[1, 0], [0, -1]], (0, 479)), ([[9, 0], [0, 9]], (-900, -900)), ([[0.1, 0], [0, 0.1]], (5, 5))],
)
def test_impossible_transforms_are_refused_however_many_agree(linear, shift):
    points_0 = np.random.default_rng(0).uniform([100, 100], [150, 150], (200, 2))
    matches = Matches(points_0, points_0 @ np.array(linear).T + shift, np.ones(200), SIZE, SIZE)
    assert all(isinstance(try_family(matches, family), str) for family in FAMILIES)
    assert matches.estimate() is None


@pytest.mark.parametrize("number", [0, 1, 3, 4])
def test_too_few_matches_are_no_transform(number):
    points = np.random.default_rng(0).uniform(0, 400, (number, 2))
    matches = Matches(points, points, np.ones(number), SIZE, SIZE)
    for family in ("auto", *FAMILIES):
        assert matches.estimate(family) is None
    expected = "There are no matches." if number == 0 else f"Only {number} of {number} matches agree on a translation"
    assert try_family(matches, "translation").startswith(expected)


def test_wrong_requests_are_named():
    matches, _ = synthetic("rigid", 0)
    for bad in ("afine", "Auto", ""):
        with pytest.raises(ParameterError, match="family must be one of auto, translation"):
            estimate_transform(matches, bad)
    for bad in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ParameterError, match="threshold must be a number of pixels above 0"):
            estimate_transform(matches, "auto", bad)
    with pytest.raises(ParameterError, match="One family is tried at a time"):
        try_family(matches, "auto")


def test_residuals_and_inliers_are_those_of_the_matrix():
    matches, _ = synthetic("homography", 4)
    transform = matches.estimate("homography", threshold=1.5)
    distance = np.linalg.norm(transform.apply(matches.points_0) - matches.points_1, axis=1)
    np.testing.assert_allclose(transform.residuals, distance)
    np.testing.assert_array_equal(transform.inliers, distance <= 1.5)
    assert transform.n_matches == 200 and transform.n_inliers == transform.inliers.sum()
    assert transform.median_residual == pytest.approx(np.median(distance[distance <= 1.5]))
    assert not transform.matrix.flags.writeable


@pytest.mark.parametrize("family", FAMILIES)
def test_json_gives_back_the_transform(tmp_path, family):
    matches, _ = synthetic(family, 2)
    matches = Matches(matches.points_0, matches.points_1, matches.confidence, SIZE, (640, 480), 0.5, 0.25)
    transform = matches.estimate(family)
    path = tmp_path / "new folder" / "transform.json"
    transform.save(path)
    assert [file.name for file in path.parent.iterdir()] == ["transform.json"]
    values = json.loads(path.read_text())
    assert values["direction"] == "points of image_0 -> points of image_1"
    assert "centre of the top-left pixel is (0, 0), x right, y down" in values["frame"]
    assert (values["matches"], values["inliers"]) == (200, transform.n_inliers)
    back = Transform.load(path)
    np.testing.assert_array_equal(back.matrix, transform.matrix)
    for name in ("family", "size_0", "size_1", "threshold", "um_per_px_0", "um_per_px_1", "n_matches", "n_inliers"):
        assert getattr(back, name) == getattr(transform, name)
    assert back.median_residual == transform.median_residual
    assert back.inliers.shape == back.residuals.shape == (0,)
    back.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_text() == path.read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"direction": "points of image_1 -> points of image_0"}, "has the direction"),
        ({"frame": "pixel corners"}, "has the frame"),
        ({"matrix": None}, "3 × 3"),
        ({"matrix": [[1, 0], [0, 1]]}, "3 × 3"),
        ({"matrix": [[1, 0, 0], [0, 1, 0], [0, 0, 0]]}, "invertible"),
        ({"matrix": [[1, 2, 0], [2, 4, 0], [0, 0, 1]]}, "invertible"),
        ({"matrix": [[1, 0, 0], [0, 1, 0], [0, 0, "x"]]}, "3 × 3"),
        ({"matrix": [[2, 0, 0], [0, 2, 0], [0, 0, 1]]}, "not that of a translation"),
        ({"matrix": [[1, 0, 0], [0, 1, 0], [1e-4, 0, 1]], "family": "affine"}, "not that of an affine"),
        ({"matrix": [[2, 0, 0], [0, 1, 0], [0, 0, 1]], "family": "similarity"}, "not that of a similarity"),
        ({"matrix": [[2, 0, 0], [0, 2, 0], [0, 0, 1]], "family": "rigid"}, "not that of a rigid"),
        ({"family": "thin-plate"}, "the family must be one of"),
        ({"family": ["rigid"]}, "the family must be one of"),
        ({"size_0": [64]}, "size_0 must be"),
        ({"um_per_px_0": -1}, "um_per_px_0 must be"),
        ({"um_per_px_0": "small"}, "um_per_px_0"),
        ({"threshold_px": "two"}, "wrong type"),
    ],
)
def test_a_wrong_json_is_named(tmp_path, change, message):
    path = tmp_path / "transform.json"
    Transform(np.array([[1, 0, 4], [0, 1, 5], [0, 0, 1]]), "translation", SIZE, SIZE).save(path)
    good = json.loads(path.read_text())
    Transform.load(path)
    path.write_text(json.dumps({**good, **change}))
    with pytest.raises(TransformError, match=message):
        Transform.load(path)


@pytest.mark.parametrize("text", ["", "[1, 2]", "{}", "not json", '{"matrix": [[1,0,0],[0,1,0],[0,0,1]]}'])
def test_what_is_no_transform_is_said_to_be_none(tmp_path, text):
    path = tmp_path / "transform.json"
    path.write_text(text)
    with pytest.raises(TransformError, match="is not a transform"):
        Transform.load(path)
    with pytest.raises(TransformError, match="There is no file"):
        Transform.load(tmp_path / "other.json")


def test_inverse_takes_points_back():
    matches, _ = synthetic("homography", 6)
    transform = matches.estimate("homography")
    back = transform.inverse()
    np.testing.assert_allclose(back.apply(transform.apply(matches.points_0)), matches.points_0, atol=1e-8)
    assert (back.size_0, back.size_1) == (transform.size_1, transform.size_0)
    assert back.n_inliers == transform.n_inliers
    similar, _ = synthetic("similarity", 6)
    transform = similar.estimate("similarity")
    back = transform.inverse()
    distance = np.linalg.norm(back.apply(similar.points_1) - similar.points_0, axis=1)
    np.testing.assert_allclose(back.residuals, distance, rtol=1e-6)  # a similarity scales alike everywhere
    assert back.family == "similarity" and back.scale == pytest.approx(1 / transform.scale)
    assert back.rotation_deg == pytest.approx(-transform.rotation_deg)


def test_rotation_scale_and_overlap_in_words():
    angle = np.deg2rad(30)  # x towards y: clockwise on the screen
    matrix = np.array([[np.cos(angle), -np.sin(angle), 100], [np.sin(angle), np.cos(angle), -20], [0, 0, 1]])
    matrix[:2, :2] *= 1.5
    transform = Transform(matrix, "similarity", SIZE, SIZE)
    assert transform.rotation_deg == pytest.approx(30)
    assert transform.scale == pytest.approx(1.5)
    shifted = Transform(np.array([[1, 0, 160], [0, 1, 240], [0, 0, 1]]), "translation", SIZE, SIZE)
    assert shifted.overlap == pytest.approx(0.75 * 0.5, abs=0.01)


def test_points_behind_the_horizon_have_no_image():
    transform = Transform(np.array([[1, 0, 0], [0, 1, 0], [-0.01, 0, 1]]), "homography", SIZE, SIZE)
    moved = transform.apply(np.array([[50.0, 10.0], [100.0, 10.0], [150.0, 10.0]]))
    np.testing.assert_allclose(moved[0], [100, 20])
    assert np.isnan(moved[1:]).all()
    with pytest.raises(TransformError, match=r"shape \(M, 2\)"):
        transform.apply(np.zeros(2))
    assert transform.apply(np.zeros((0, 2))).shape == (0, 2)


MATRIX = np.array([[1.05, -0.21, 20.4], [0.18, 0.97, -8.7], [2e-4, -1e-4, 1.0]])


def test_scikit_image_opencv_and_kornia_take_the_matrix_as_it_is():
    import kornia
    import torch
    from skimage.transform import ProjectiveTransform

    transform = Transform(MATRIX, "homography", (96, 80), (96, 80))
    points = np.array([[30.25, 41.5], [0.0, 0.0], [95.0, 79.0]])
    moved = transform.apply(points)
    np.testing.assert_allclose(moved, ProjectiveTransform(matrix=transform.matrix)(points))
    np.testing.assert_allclose(moved, cv2.perspectiveTransform(points[None], transform.matrix)[0], atol=1e-9)
    tensors = (torch.from_numpy(array.copy())[None] for array in (transform.matrix, points))
    np.testing.assert_allclose(moved, kornia.geometry.transform_points(*tensors)[0].numpy(), atol=1e-6)


def test_warping_with_opencv_scikit_image_and_kornia_lands_where_apply_says():
    import kornia
    import torch
    from skimage.transform import ProjectiveTransform, warp

    transform = Transform(MATRIX, "homography", (96, 80), (96, 80))
    y, x = np.mgrid[0:80, 0:96].astype(float)
    spot = np.array([40.3, 35.8])
    image_0 = np.exp(-((x - spot[0]) ** 2 + (y - spot[1]) ** 2) / (2 * 2.5**2))
    warped = {
        "opencv": cv2.warpPerspective(image_0, transform.matrix, transform.size_1),
        "scikit-image": warp(image_0, ProjectiveTransform(matrix=transform.matrix).inverse, output_shape=(80, 96)),
        "kornia": kornia.geometry.transform.warp_perspective(
            torch.from_numpy(image_0)[None, None],
            torch.from_numpy(transform.matrix.copy())[None],
            (80, 96),
            align_corners=True,
        )[0, 0].numpy(),
    }
    for tool, image_1 in warped.items():
        landed = np.array([(image_1 * x).sum(), (image_1 * y).sum()]) / image_1.sum()
        np.testing.assert_allclose(landed, transform.apply(spot[None])[0], atol=0.05, err_msg=tool)
