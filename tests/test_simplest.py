"""The simplest family: held where the images know nothing against it, left where they do."""

import math

import numpy as np
import pytest

from microloftr.simplest import FAMILIES, USUAL, Frames, beyond_shift, simplest, slopes, stepped, usual

VIEW = np.array([[1 / 100, 0, -1], [0, 1 / 100, -1], [0, 0, 1.0]])
FRAMES = Frames(VIEW, np.eye(3), np.eye(3), VIEW)
SURELY = 1e8 * np.eye(8)  # steps are known to 1e-4


def homography(log_scale=0.0, angle=0.0, shears=(0.0, 0.0), perspective=(0.0, 0.0)) -> np.ndarray:
    """One that moves the middle of image_0 by (7, −3) and does this beyond."""
    turn = math.exp(log_scale) * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    linear = turn @ np.array([[1 + shears[0], shears[1]], [shears[1], 1 - shears[0]]])
    middle = np.eye(3)
    middle[:2, :2], middle[2, :2] = linear, perspective
    shift = np.array([[100, 0, 107], [0, 100, 97], [0, 0, 1.0]])
    result = shift @ middle @ VIEW
    return result / result[2, 2]


def test_what_lies_beyond_a_shift_is_told_in_its_own_numbers():
    told = beyond_shift(homography(0.3, -0.4, (0.01, -0.02), (0.005, 0.002)), FRAMES)
    assert np.allclose(told[:2], (0.3, -0.4), atol=0.03)  # (a homography's middle is not quite that of its linear part)
    assert np.allclose(beyond_shift(homography(0.3, -0.4), FRAMES), (0.3, -0.4, 0, 0, 0, 0), atol=1e-9)
    assert np.allclose(beyond_shift(homography(shears=(0.01, -0.02)), FRAMES)[2:4], (0.01, -0.02), atol=1e-4)


def test_pixels_as_read_are_told_whatever_part_is_looked_at_and_however_it_was_shrunk():
    matrix = homography(0.1, 0.2, (0.01, 0.0), (0.004, -0.003))
    to_0, to_1 = np.array([[0.5, 0, -12], [0, 0.5, 3], [0, 0, 1]]), np.array([[0.4, 0, 5], [0, 0.4, -8], [0, 0, 1]])
    part = Frames(np.diag([1 / 30, 1 / 30, 1]), to_0, to_1, VIEW)
    assert np.allclose(beyond_shift(to_1 @ matrix @ np.linalg.inv(to_0), part), beyond_shift(matrix, FRAMES), atol=1e-9)


def test_slopes_are_those_of_small_steps():
    matrix, step = homography(0.1, 0.2), 1e-4 * np.array([3, -2, 1, 2, -1, 1, 2, -1.0])
    change = beyond_shift(stepped(matrix, step, VIEW), FRAMES) - beyond_shift(matrix, FRAMES)
    assert np.allclose(slopes(matrix, FRAMES) @ step, change, atol=2e-7)


@pytest.mark.parametrize(
    ("given", "family"),
    [
        ({}, "translation"),
        ({"angle": 0.1}, "rigid"),
        ({"log_scale": 0.05, "angle": 0.1}, "similarity"),
        ({"log_scale": 0.05, "angle": 0.1, "shears": (0.01, 0.0)}, None),
        ({"perspective": (0.006, 0.0)}, None),
    ],
)
def test_what_the_images_surely_show_is_kept_and_the_rest_is_nothing(given, family):
    assert simplest(homography(**given), SURELY, FRAMES) == family


def test_where_the_images_know_little_nothing_simpler_is_claimed():
    """Ignorance is no evidence: a family is only simpler where the images could have spoken against it."""
    assert simplest(homography(), 1e-2 * np.eye(8), FRAMES) is None


def test_noise_is_taken_for_noise():
    small = {"log_scale": 1e-4, "angle": -1e-4, "shears": (1e-4, 1e-4), "perspective": (1e-4, -1e-4)}
    assert simplest(homography(**small), SURELY, FRAMES) == "translation"
    ten_times = {"log_scale": 1e-3, "angle": -1e-3, "shears": (1e-3, 1e-3), "perspective": (1e-3, -1e-3)}
    assert simplest(homography(**ten_times), SURELY, FRAMES) is None


def test_a_family_holds_its_numbers_at_0_and_leaves_the_others():
    matrix = homography(0.05, 0.1, (0.01, 0.01), (0.004, 0.004))
    for family, zero in FAMILIES.items():
        normal, right = usual(matrix, FRAMES, family)
        step = np.linalg.solve(normal + 1e-3 * np.eye(8), right)
        left = beyond_shift(stepped(matrix, step, VIEW), FRAMES)
        free = [k for k in range(2) if k not in zero]
        assert np.abs(left[list(zero)]).max() < 0.15 * np.abs(beyond_shift(matrix, FRAMES)[list(zero)]).max()
        assert np.allclose(left[free], beyond_shift(matrix, FRAMES)[free], atol=2e-3)
    assert len(USUAL) == 6
