"""Direct alignment: all pixels of the overlap at once, whatever changed between the images."""

import cv2
import numpy as np
import pytest

from microloftr.direct import aligned
from microloftr.drawn import drawn_to
from microloftr.guided import moved

SIZE = 192
TRUE = np.array([[0.99, -0.06, 21.3], [0.05, 1.01, -14.6], [2e-5, -3e-5, 1.0]])


@pytest.fixture(scope="module")
def scene() -> np.ndarray:
    """A large image of soft structures, 0..1."""
    noise = np.random.default_rng(3).normal(size=(2 * SIZE, 2 * SIZE)).astype(np.float32)
    soft = cv2.GaussianBlur(noise, (0, 0), 2.5) + 2 * cv2.GaussianBlur(noise, (0, 0), 7)
    return (soft - soft.min()) / np.ptp(soft)


@pytest.fixture(scope="module")
def crops(scene) -> tuple[np.ndarray, np.ndarray]:
    """Two crops; TRUE takes points of the first to the second."""
    centre = np.array([[1, 0, SIZE / 2], [0, 1, SIZE / 2], [0, 0, 1]])
    first, second = centre, centre @ np.linalg.inv(TRUE)
    flags = cv2.INTER_LANCZOS4 | cv2.WARP_INVERSE_MAP
    return tuple(np.clip(cv2.warpPerspective(scene, m, (SIZE, SIZE), flags=flags), 0, 1) for m in (first, second))


def points(spread: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Points of both images that scatter by `spread` pixels around TRUE."""
    y, x = np.mgrid[20 : SIZE - 20 : 8, 20 : SIZE - 20 : 8]
    grid = np.stack((x, y), -1).reshape(-1, 2).astype(float)
    there = moved(grid, TRUE)
    inside = ((there > 4) & (there < SIZE - 5)).all(1)
    noise = np.random.default_rng(seed).normal(0, spread, (inside.sum(), 2))
    return grid[inside], there[inside] + noise


def corner_error(homography: np.ndarray) -> float:
    corners = np.array([[0, 0], [SIZE - 1, 0], [0, SIZE - 1], [SIZE - 1, SIZE - 1]], float)
    return float(np.linalg.norm(moved(corners, homography) - moved(corners, TRUE), axis=1).mean())


def shifted(homography: np.ndarray, x: float, y: float) -> np.ndarray:
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1]]) @ homography


CHANGES = {
    "none": lambda image: image,
    "inverted": lambda image: 1 - image,
    "gamma": lambda image: image**2.2,
    "another tone of every grey": lambda image: 0.5 + 0.5 * np.sin(9 * image),
    "uneven light": lambda image: image * np.linspace(0.5, 1, SIZE, dtype=np.float32),
    "few photons": lambda image: np.random.default_rng(1).poisson(30 * image).astype(np.float32) / 30,
}


@pytest.mark.parametrize(("name", "limit"), [(n, 0.3 if n == "few photons" else 0.1) for n in CHANGES])
def test_all_pixels_find_the_transform_whatever_the_image_looks_like(crops, name, limit):
    first, second = crops
    second = np.clip(CHANGES[name](second), 0, 1).astype(np.float32)
    start = shifted(TRUE, 1.2, -0.8)
    found = aligned(first, second, start, *points(1.0))
    assert corner_error(start) > 1.2
    assert corner_error(found) < limit


def test_points_hold_the_transform_where_pixels_say_nothing(crops):
    blank = np.full((SIZE, SIZE), 0.5, np.float32)
    found = aligned(blank, blank, TRUE, *points(0.2))
    assert corner_error(found) < 0.3


def test_nothing_shared_gives_none(crops):
    far = shifted(TRUE, 500, 0)
    assert aligned(*crops, far, *points(0.2)) is None


def test_pixels_outweigh_points_that_scatter_and_yield_to_points_that_all_disagree_a_little(crops):
    """Scattered points: a tenth of a pixel is kept. A shift that all points share is half believed, never ignored."""
    points_0, points_1 = points(1.5)
    assert corner_error(aligned(*crops, TRUE, points_0, points_1)) < 0.1
    moved_all = aligned(*crops, TRUE, points_0, points(0.0)[1] + [1.0, 0])
    assert 0 < corner_error(moved_all) < 1.0


@pytest.mark.parametrize("swapped", [False, True])
def test_the_sharper_image_explains_the_other_whatever_their_order(crops, swapped):
    """A blurred, noisy image is explained by a sharp one and explains nothing itself."""
    first, second = crops
    second = cv2.GaussianBlur(second, (0, 0), 2.0)
    second = np.random.default_rng(2).poisson(60 * second).astype(np.float32) / 60
    points_0, points_1 = points(1.0)
    if swapped:
        found = aligned(second, first, np.linalg.inv(TRUE), points_1, points_0)
        assert corner_error(np.linalg.inv(found)) < 0.3
    else:
        assert corner_error(aligned(first, second, TRUE, points_0, points_1)) < 0.3


def test_tiles_that_are_shifted_only_are_given_a_shift(scene):
    first, second = scene[40 : 40 + SIZE, 20 : 20 + SIZE], scene[50 : 50 + SIZE, 170 : 170 + SIZE]
    shift = np.array([[1, 0, -150.0], [0, 1, -10.0], [0, 0, 1]])
    rng = np.random.default_rng(0)
    first, second = (
        np.clip(tile + rng.normal(0, 0.01, tile.shape), 0, 1).astype(np.float32) for tile in (first, second)
    )
    grid = np.stack(np.mgrid[155:185:8, 20:180:8], -1).reshape(-1, 2).astype(float)
    there = moved(grid, shift) + rng.normal(0, 0.5, grid.shape)
    found = aligned(first, second, shifted(shift, 0.7, -0.4), grid, there)
    assert np.abs(found[:2, :2] - np.eye(2)).max() < 1e-4 and np.abs(found[2, :2]).max() < 1e-6
    assert np.abs(found[:2, 2] - shift[:2, 2]).max() < 0.05


def test_noise_goes_and_a_deformation_stays():
    points_0, points_1 = points(0.3)
    truth = moved(points_0, TRUE)

    def error(found, target):
        return np.sqrt(((found - target) ** 2).sum(1).mean())

    drawn = drawn_to(TRUE, points_0, points_1)
    assert error(drawn, truth) < 0.5 * error(points_1, truth)
    bent = np.stack((1.5 * np.sin(points_0[:, 1] / 45), np.cos(points_0[:, 0] / 45)), 1)
    kept = drawn_to(TRUE, points_0, points_1 + bent)
    assert error(kept, truth + bent) < 1.2 * error(points_1, truth) and error(kept, truth) > 0.7


def test_points_far_from_the_homography_and_points_too_few_are_left_alone():
    points_0, points_1 = points(0.3)
    points_1[:5] += 9
    drawn = drawn_to(TRUE, points_0, points_1)
    assert np.array_equal(drawn[:5], points_1[:5]) and not np.array_equal(drawn[5:], points_1[5:])
    assert np.array_equal(drawn_to(TRUE, points_0[:8], points_1[:8]), points_1[:8])
