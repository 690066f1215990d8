"""ECC (Evangelidis and Psarakis, IEEE PAMI 2008): the transform that correlates two images best, by gradient ascent.

It sees every pixel and bears any gain and offset, but only from nearby: a first transform is needed, from phase
correlation or from RootSIFT.
"""

from typing import Any

import cv2
import numpy as np

from microloftr.errors import ParameterError
from microloftr.evaluation.baselines.common import NO_RESIZE, correlation_under, matches_of, no_matches
from microloftr.evaluation.baselines.phase import PhaseCorrelation
from microloftr.evaluation.baselines.rootsift import RootSIFT
from microloftr.images import Image, as_image, resize
from microloftr.matches import Matches
from microloftr.registration.families import find_homography

STARTS = ("phase_correlation", "rootsift")
SHRINKS = (4, 2, 1)  # from coarse to fine, so that it starts farther away
SMALLEST = 48  # px; a copy with a shorter side is skipped
BLUR = 5  # px, of OpenCV's own smoothing


class ECC:
    """OpenCV's findTransformECC on three sizes of the images: rotation and shift on the small ones, a homography last.

    `start`: "phase_correlation" (a shift; this is then a direct method throughout) or "rootsift" (its homography, and
    a shift where it has none). The answer is a grid of points; their confidence is the correlation of the grey values.
    Nothing where an image is constant, or the ascent leaves the overlap.
    """

    resize = NO_RESIZE

    def __init__(self, start: str = "phase_correlation", steps: int = 60, tolerance: float = 1e-5) -> None:
        if start not in STARTS:
            raise ParameterError(f"ECC can start from {' or '.join(STARTS)}, not from {start!r}.")
        self.start, self.options = start, f"start={start} steps={steps} tolerance={tolerance:g}"
        self.criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, steps, tolerance)
        self.shifts, self.points = PhaseCorrelation(), RootSIFT()

    def match(self, image_0: Any, image_1: Any) -> Matches:
        image_0, image_1 = as_image(image_0), as_image(image_1)
        matrix = self._first(image_0, image_1)
        if matrix is None:
            return no_matches(image_0, image_1)
        sizes = [image.pixels.shape for image in (image_0, image_1)]
        for shrink in SHRINKS:
            if min(map(min, sizes)) < SMALLEST * shrink and shrink > 1:
                continue
            small = [resize(image.pixels, tuple(round(side / shrink) for side in image.pixels.shape))
                     for image in (image_0, image_1)]  # fmt: skip
            frames = [
                _scaling(image.pixels.shape, copy.shape) for image, copy in zip((image_0, image_1), small, strict=True)
            ]
            there = self._ascended(small, frames[1] @ matrix @ np.linalg.inv(frames[0]), last=shrink == 1)
            if there is None:
                return no_matches(image_0, image_1)
            matrix = np.linalg.inv(frames[1]) @ there @ frames[0]
        sure = correlation_under(matrix, image_0.pixels, image_1.pixels)
        return matches_of(matrix, sure, image_0, image_1) if sure > 0 else no_matches(image_0, image_1)

    def _first(self, image_0: Image, image_1: Image) -> np.ndarray | None:
        """The transform (3, 3) to start from."""
        if self.start == "rootsift":
            found = self.points.match(image_0, image_1)
            matrix, inliers = find_homography(found.points_0, found.points_1, 2.0)
            if matrix is not None and inliers.sum() >= 8:
                return matrix
        shift = self.shifts.shift(image_0.pixels, image_1.pixels)
        return None if shift is None else np.array([[1, 0, shift[0][0]], [0, 1, shift[0][1]], [0, 0, 1]])

    def _ascended(self, pixels: list[np.ndarray], matrix: np.ndarray, last: bool) -> np.ndarray | None:
        """The transform (3, 3) after the ascent, None where none leads up; a rigid one stays so before the last."""
        homography = last or not _is_rigid(matrix)
        kind = cv2.MOTION_HOMOGRAPHY if homography else cv2.MOTION_EUCLIDEAN
        start = (matrix / matrix[2, 2]).astype(np.float32)[: 3 if homography else 2]
        try:
            _, found = cv2.findTransformECC(*pixels, np.ascontiguousarray(start), kind, self.criteria, None, BLUR)
        except cv2.error:  # says so where the images do not overlap any more, or do not correlate
            return None
        return np.vstack([found, [0, 0, 1]]).astype(np.float64)[:3]


def _scaling(shape: tuple[int, int], new: tuple[int, int]) -> np.ndarray:
    y, x = (after / before for before, after in zip(shape, new, strict=True))
    return np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2], [0, 0, 1]])


def _is_rigid(matrix: np.ndarray) -> bool:
    linear = matrix[:2, :2] / matrix[2, 2]
    return bool(np.abs(linear.T @ linear - np.eye(2)).max() < 1e-3 and np.abs(matrix[2, :2]).max() < 1e-9)
