"""Following points: known shifts come back, other looks do not matter, and what is not there is not found."""

import cv2
import numpy as np
import pytest
from scipy import ndimage

from microloftr.alignment import FORMS, follow, form_of, similarity_at
from microloftr.guided import NOISY, SHARP, guided_matches, homography_of, moved, shown_by, warped_onto


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """Soft grains, 200×240."""
    rng = np.random.default_rng(3)
    grains = cv2.GaussianBlur(rng.random((200, 240)).astype(np.float32), (0, 0), 2.5)
    return (grains - grains.min()) / (grains.max() - grains.min())


def shifted(image: np.ndarray, x: float, y: float) -> np.ndarray:
    """What shows at (x, y) + p what `image` shows at p."""
    return ndimage.shift(image, (y, x), order=5, mode="mirror").astype(np.float32)


def grid(shape: tuple[int, int], step: int = 20, rim: int = 40) -> np.ndarray:
    y, x = np.mgrid[rim : shape[0] - rim : step, rim : shape[1] - rim : step]
    return np.stack((x, y), -1).reshape(-1, 2).astype(float)


def both(picture: np.ndarray, other: np.ndarray, form: str = "grey") -> tuple[np.ndarray, np.ndarray]:
    return form_of(picture, form), form_of(other, form, other=True)


@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.37, -0.81), (2.5, 1.25)])
def test_a_shift_comes_back_to_a_fiftieth_of_a_pixel(picture, shift):
    points = grid(picture.shape)
    found = follow(*both(picture, shifted(picture, *shift)), points, points)
    assert np.abs(found.points_1 - points - shift).max() < 0.02
    assert found.similarity.min() > 0.95 and found.loop.max() < 0.05


def test_halvings_reach_further(picture):
    rng, (height, width) = np.random.default_rng(0), picture.shape
    few = np.zeros_like(picture)
    few[rng.integers(30, height - 30, 40), rng.integers(30, width - 30, 40)] = 1
    few = cv2.GaussianBlur(few, (0, 0), 5) * 100
    points = grid(picture.shape, rim=60)
    forms = both(few, shifted(few, 12, -9))
    near, far = (np.abs(follow(*forms, points, points, 31, n).points_1 - points - (12, -9)).max(1) for n in (0, 2))
    assert np.median(near) > 2 and np.median(far) < 0.1


@pytest.mark.parametrize(
    ("form", "change"),
    [
        ("grey", lambda p: 0.2 + 0.5 * p),
        ("grey", lambda p: p * np.linspace(0.4, 1, p.shape[1], dtype=np.float32)),
        ("inverted", lambda p: 1 - p),
        ("edges", lambda p: 1 - p**2),
        ("unsigned", lambda p: 1 - p),
    ],
)
def test_a_form_does_not_see_its_change(picture, form, change):
    points = grid(picture.shape)
    other = change(shifted(picture, 0.6, -0.4)).astype(np.float32)
    found = follow(*both(picture, other, form), points, points)
    assert np.median(np.abs(found.points_1 - points - (0.6, -0.4))) < 0.1
    assert np.median(found.similarity) > 0.8
    if form == "inverted":
        assert np.median(follow(*both(picture, other), points, points).similarity) < 0.5


def test_similarity_is_the_correlation_of_the_patches(picture):
    forms = both(picture, picture)
    points = grid(picture.shape)
    assert np.allclose(similarity_at(*forms, points, points), 1, atol=3e-3)
    assert np.allclose(similarity_at(forms[0], 255 - forms[0], points, points), -1, atol=0.02)
    blank = np.full_like(forms[0], 128)
    assert np.abs(similarity_at(forms[0], blank, points, points)).max() < 0.05
    assert len(similarity_at(*forms, points[:0], points[:0])) == 0
    assert len(follow(*forms, points[:0], points[:0]).points_1) == 0


WARP = np.array([[0.94, -0.2, 31.0], [0.22, 0.97, -12.0], [1e-4, -5e-5, 1.0]])


@pytest.mark.parametrize("look", [SHARP, NOISY])
def test_from_a_rough_transform_to_dense_points(picture, look):
    other = cv2.warpPerspective(picture, WARP, (220, 230), flags=cv2.INTER_CUBIC, borderValue=0.5)
    rough = WARP + np.array([[0.02, -0.01, 4.0], [0.0, 0.015, -3.0], [0, 0, 0]])
    found = guided_matches(picture, other, rough, look=look)
    error = np.linalg.norm(found.points_1 - moved(found.points_0, WARP), axis=1)
    assert len(error) > 100 and np.median(error) < 0.1 and found.support > 0.4
    assert np.abs(moved(found.points_0, found.homography) - moved(found.points_0, WARP)).max() < 0.5
    expected = np.linalg.norm(found.expected_1 - moved(found.points_0, WARP), axis=1)
    assert np.median(expected) < 3  # the guess of the last round


def test_an_inverted_image_is_supported_in_the_inverted_form(picture):
    found = guided_matches(picture, 1 - shifted(picture, 3, 2), np.eye(3))
    assert found.form == "inverted"
    assert np.abs(np.median(found.points_1 - found.points_0, axis=0) - (3, 2)).max() < 0.1


def test_what_is_not_the_same_is_not_supported(picture):
    strange = cv2.GaussianBlur(np.random.default_rng(9).random(picture.shape).astype(np.float32), (0, 0), 2.5)
    strange = (strange - strange.min()) / (strange.max() - strange.min())
    found = guided_matches(picture, strange, np.eye(3))
    assert found is None or found.support < 0.05
    assert guided_matches(picture, np.full_like(picture, 0.5), np.eye(3)) is None
    far = np.array([[1.0, 0, 900], [0, 1, 0], [0, 0, 1]])  # no overlap at all
    assert guided_matches(picture, picture, far) is None


def test_points_stay_inside_image_1_and_on_what_it_shows(picture):
    other = shifted(picture, -30, 0)[:, :180]
    found = guided_matches(picture, other, np.array([[1.0, 0, -30], [0, 1, 0], [0, 0, 1]]))
    assert (found.points_1 >= -0.5).all() and (found.points_1[:, 0] < 179.5).all()
    shown = shown_by(picture.shape, other.shape, np.array([[1.0, 0, -30], [0, 1, 0], [0, 0, 1]]))
    assert not shown[:, :31].any() and shown[100, 40:200].all() and not shown[:, 210:].any()
    assert FORMS[0] == "grey"


def test_warping_does_not_displace_what_lies_between_the_pixels(picture):
    """By OpenCV's cubic kernel, which would do as well at first sight, it is 0.05 pixels."""
    points, quarter = grid(picture.shape), np.array([[1.0, 0, 0.25], [0, 1, 0.25], [0, 0, 1]])
    plain = cv2.warpPerspective(
        picture, quarter, picture.shape[::-1], flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP, borderMode=4
    )
    off = [
        np.median(np.abs(follow(*both(picture, w), points, points).points_1 - points + 0.25))
        for w in (warped_onto(picture.shape, picture, quarter), plain)
    ]
    assert off[0] < 0.02 and off[1] > 0.04


def test_warping_by_a_shift_is_the_shift(picture):
    first = np.array([[1.0, 0, 5], [0, 1, -7], [0, 0, 1]])
    warped = warped_onto(picture.shape, shifted(picture, 5, -7), first)
    assert np.abs(warped - picture)[20:-20, 20:-20].max() < 0.02
    assert homography_of(np.zeros((3, 2)), np.zeros((3, 2))) is None
