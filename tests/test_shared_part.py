"""The shared part: cut out of both images, and in the right place."""

import cv2
import numpy as np

from microloftr.guided import moved
from microloftr.shared_part import MARGIN, shared_part

TRUE = np.array([[1.0, 0.02, -500.0], [-0.02, 1.0, 30.0], [0, 0, 1.0]])


def images() -> tuple[np.ndarray, np.ndarray]:
    """Two overlapping fields of 480×640 with soft structures; TRUE takes points of the first to the second."""
    noise = np.random.default_rng(0).normal(size=(700, 1300)).astype(np.float32)
    scene = cv2.GaussianBlur(noise, (0, 0), 4)
    scene = (scene - scene.min()) / np.ptp(scene)
    place = np.array([[1, 0, 20], [0, 1, 80], [0, 0, 1.0]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return tuple(cv2.warpPerspective(scene, m, (640, 480), flags=flags) for m in (place, place @ np.linalg.inv(TRUE)))


def test_a_narrow_overlap_keeps_its_pixels():
    first, second = images()
    part = shared_part(first, second, TRUE, 512)
    height, width = part.pixels_0.shape
    assert height > 400 and abs(width - (140 + MARGIN)) < 15 and np.allclose(np.diag(part.to_0), 1)


def test_parts_show_the_same_places_of_the_images_also_where_they_are_shrunk():
    first, second = images()
    for side in (512, 200):
        part = shared_part(first, second, TRUE, side)
        inside = part.to_1 @ TRUE @ np.linalg.inv(part.to_0)
        y, x = np.mgrid[10 : part.pixels_0.shape[0] - 10 : 6, 15 : part.pixels_0.shape[1] - 5 : 6]
        points = np.stack((x, y), -1).reshape(-1, 2).astype(float)
        there = moved(points, inside).astype(np.float32)
        seen = cv2.remap(part.pixels_1, *(there[:, k].reshape(-1, 1) for k in (0, 1)), cv2.INTER_LINEAR)[:, 0]
        here = part.pixels_0[points[:, 1].astype(int), points[:, 0].astype(int)]
        within = ((there > 1) & (there < np.array(part.pixels_1.shape[::-1]) - 2)).all(1)
        assert within.sum() > 100 and np.corrcoef(seen[within], here[within])[0, 1] > 0.98
        assert max(*part.pixels_0.shape, *part.pixels_1.shape) <= side


def test_nothing_shared_is_none():
    first, second = images()
    assert shared_part(first, second, np.array([[1, 0, 5000], [0, 1, 0], [0, 0, 1.0]]), 512) is None
