"""First transforms: thumbnails, image_1 in its four quarter turns, and what the matches of each turn agree on.

The network bears turns of about ±45° and scales of 0.6 to 1.6. Quarter turns cost no interpolation and do the rest;
thumbnails of unequal size do it for scales. All mutual matches vote, however unsure: of hundreds of unsure ones the
right ones agree on one similarity and the wrong ones on none, while a threshold would leave nothing of either where two
images look different.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from microloftr.alignment import Points
from microloftr.images import resize

LEAST_AGREEING = 8
AGREES = 8.0  # pixels of a thumbnail: one coarse cell
SCALES = (0.25, 4.0)
MOST_SAMPLES = 10_000
TURNS = (0, 2, 1, 3)  # the likelier first

PointsOf = Callable[[NDArray, NDArray], tuple[Points, Points]]


@dataclass(frozen=True, eq=False)
class Hypothesis:
    """A similarity (3, 3), points of image_0 → image_1, the quarter turns behind it, how many matches agree on it."""

    matrix: NDArray[np.float64]
    turns: int
    agreeing: int


def hypotheses(
    pixels_0: NDArray,
    pixels_1: NDArray,
    side: int,
    points_of: PointsOf,
    turns_tried: tuple[int, ...] = TURNS,
    magnified: float = 1.0,
) -> Iterator[Hypothesis]:
    """What thumbnails of at most `side` pixels say: at most one hypothesis a quarter turn, each made when asked for.

    points_of: two images → matched points (M, 2) of both, all of them. magnified: how much larger image_1 is thought to
    show things, beside its long side; the thumbnail that would show them larger is made so much smaller.
    """
    thumb_0, scale_0 = shrunk(pixels_0, round(side * min(magnified, 1)))
    thumb_1, scale_1 = shrunk(pixels_1, round(side / max(magnified, 1)))
    for turns in turns_tried:
        similarity, agreeing = agreed(*points_of(thumb_0, np.ascontiguousarray(np.rot90(thumb_1, turns))))
        if similarity is not None and agreeing >= LEAST_AGREEING:
            matrix = unturn(turns, thumb_1.shape) @ similarity
            yield Hypothesis(np.linalg.inv(frame(scale_1)) @ matrix @ frame(scale_0), turns, agreeing)


def agreed(points_0: Points, points_1: Points) -> tuple[NDArray | None, int]:
    """The similarity (3, 3) that most matches agree on within a coarse cell, and how many do."""
    if len(points_0) < LEAST_AGREEING:
        return None, 0
    cv2.setRNGSeed(0)
    found, inliers = cv2.estimateAffinePartial2D(
        points_0, points_1, method=cv2.RANSAC, ransacReprojThreshold=AGREES, maxIters=MOST_SAMPLES, confidence=0.999
    )
    if found is None or not SCALES[0] < math.sqrt(abs(np.linalg.det(found[:, :2]))) < SCALES[1]:
        return None, 0
    return np.vstack((found, (0, 0, 1))), int(inliers.sum())


def shrunk(pixels: NDArray, long_side: int) -> tuple[NDArray, NDArray]:
    """Pixels with their long side at most `long_side`, and the scales (x, y) that this took."""
    height, width = pixels.shape
    if max(height, width) <= long_side:
        return pixels, np.ones(2)
    factor = long_side / max(height, width)
    shape = (max(round(height * factor), 1), max(round(width * factor), 1))
    return resize(pixels, shape), np.array([shape[1] / width, shape[0] / height])


def frame(scale: NDArray) -> NDArray:
    """Matrix (3, 3) from pixels to pixels of the shrunk image: x ↦ (x + ½)·s − ½."""
    x, y = scale
    return np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2], [0, 0, 1]])


def unshrunk(points: Points, scale: NDArray) -> Points:
    """Points (M, 2) of a shrunk image in pixels of the image that it was."""
    return (points + 0.5) / scale - 0.5


def unturn(turns: int, shape: tuple[int, int]) -> NDArray:
    """Matrix (3, 3) from points of np.rot90(image, turns) to points of the image of this shape."""
    height, width = shape
    return np.array(
        [
            np.eye(3),
            [[0, -1, width - 1], [1, 0, 0], [0, 0, 1]],
            [[-1, 0, width - 1], [0, -1, height - 1], [0, 0, 1]],
            [[0, 1, 0], [-1, 0, height - 1], [0, 0, 1]],
        ][turns],
        dtype=float,
    )


@dataclass(frozen=True, eq=False)
class View:
    """Both images shrunk for a try, and the scales (x, y) that this took."""

    pixels_0: NDArray
    pixels_1: NDArray
    scale_0: NDArray
    scale_1: NDArray

    @classmethod
    def of(cls, large_0: NDArray, large_1: NDArray, side: int) -> "View":
        (pixels_0, scale_0), (pixels_1, scale_1) = shrunk(large_0, side), shrunk(large_1, side)
        return cls(pixels_0, pixels_1, scale_0, scale_1)

    @property
    def smaller(self) -> bool:
        return bool((self.scale_0 != 1).any() or (self.scale_1 != 1).any())

    def in_large(self, matrix: NDArray) -> NDArray:
        """A transform (3, 3) of the shrunk images as one of the large ones."""
        return np.linalg.inv(frame(self.scale_1)) @ matrix @ frame(self.scale_0)
