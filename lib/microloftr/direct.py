"""Direct alignment: one transform from all the pixels that two images share, and from the points already found.

Following patches measures every place alone and loses what a patch does not show: a single edge, a faint texture. Here
all pixels of the overlap move together (Lucas and Kanade 1981; Baker and Matthews 2004, the compositional form).
Between the images stands a model of how they look (explained.py); what it leaves over decides how much each place
counts, and how much all pixels together count against the points, which know less but are misled by other things.
At last the simplest transform is taken that the images do not speak against (simplest.py).
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from microloftr.alignment import Points
from microloftr.explained import BLUR, BLURS, best_blur, blurred, explained, noise_share
from microloftr.guided import moved, shown_by, warped_onto
from microloftr.simplest import Frames, simplest, stepped, usual

STEPS = 5
LAST_STEPS = 3  # within a simpler family
STILL = 0.01  # pixels; a step below it is the last
REACH = 0.3  # of half the long side; a larger step means that nothing holds the transform
LEAST_PIXELS = 500
ROBUST = 2.5  # spreads; what differs more counts less
POINT_SHARE = 1 / 9  # points every 8 pixels with windows of 21 and more: about nine share what they saw
LEAST_SPREAD = 0.1  # pixels; points are never trusted more
BLOCK = 16  # pixels; noise does not reach so far, what the tone curve got wrong does
NOISIER = 2.0  # times as noisy, beside its contrast, as the other: such an image explains nothing


def aligned(
    pixels_0: NDArray,
    pixels_1: NDArray,
    first: NDArray,
    points_0: Points,
    points_1: Points,
    to_0: NDArray | None = None,
    to_1: NDArray | None = None,
    size_0: tuple[int, int] | None = None,
    size_1: tuple[int, int] | None = None,
) -> NDArray[np.float64] | None:
    """The transform (3, 3) of two images (H, W) in 0..1, near `first` and near to what points (M, 2) say.

    to_0, to_1 (3, 3): from pixels as read to pixels of these images, where they are parts or shrunk; size_0, size_1:
    (width, height) as read. The image that is sharper, or else has less noise, explains the other one, so that the
    order of the images hardly matters. None where nothing holds the transform.
    """
    sizes = (size_0 or pixels_0.shape[::-1]), (size_1 or pixels_1.shape[::-1])
    to_0, to_1 = (np.eye(3) if matrix is None else matrix for matrix in (to_0, to_1))
    there = _Task(pixels_0, pixels_1, points_0, points_1, _frames(pixels_0.shape, to_0, to_1, sizes[0]))
    back = _Task(pixels_1, pixels_0, points_1, points_0, _frames(pixels_1.shape, to_1, to_0, sizes[1]))
    try:
        first_back = np.linalg.inv(first)
        blur = there.blur(first)
        if blur == BLURS[0]:
            blur_back = back.blur(first_back)
            if blur_back and (blur_back > blur or noise_share(pixels_0) > NOISIER * noise_share(pixels_1)):
                found = back.solved(first_back, blur_back)
                return None if found is None else np.linalg.inv(found)
        return None if blur is None else there.solved(first, blur)
    except np.linalg.LinAlgError:  # a homography that cannot be turned round, or points all in one place
        return None


@dataclass(frozen=True, eq=False)
class _Task:
    """Image_0 explains image_1: what is given."""

    pixels_0: NDArray
    pixels_1: NDArray
    points_0: Points
    points_1: Points
    frames: Frames

    @property
    def half(self) -> float:
        """Half the long side of image_0, the unit of steps."""
        return float(1 / self.frames.view[0, 0])

    def blur(self, homography: NDArray) -> float | None:
        """By how much image_0 is sharper; None where too little is shared."""
        shown = self.shown(homography)
        if shown.sum() < LEAST_PIXELS:
            return None
        seen = blurred(warped_onto(self.pixels_0.shape, self.pixels_1, homography))
        return best_blur(self.pixels_0, seen, shown)

    def shown(self, homography: NDArray) -> NDArray:
        whole = shown_by(self.pixels_0.shape, self.pixels_1.shape, homography).astype(np.uint8)
        return cv2.erode(whole, np.ones((5, 5))) > 0

    def solved(self, first: NDArray, blur: float) -> NDArray | None:
        """The transform (3, 3) near `first`."""
        template = blurred(self.pixels_0, blur)
        found = self._stepped(template, first / first[2, 2], STEPS, None)
        if found is None:
            return None
        homography, normal = found
        family = simplest(homography, normal, self.frames)
        simpler = family and self._stepped(template, homography, LAST_STEPS, family)
        return simpler[0] if simpler else homography

    def _stepped(self, template, homography, steps: int, family: str | None) -> tuple[NDArray, NDArray] | None:
        """The homography after so many steps, and the normal matrix (8, 8) of what the images know there."""
        normal = None
        for _ in range(steps):
            known = self._known(template, homography)
            if known is None:
                return None
            normal, right = known
            more_normal, more_right = usual(homography, self.frames, family)
            step = np.linalg.solve(normal + more_normal, right + more_right)
            if not np.isfinite(step).all() or np.abs(step).max() > REACH:
                return None
            homography = stepped(homography, step, self.frames.view)
            if np.abs(step).max() * self.half < STILL:
                break
        return homography, normal

    def _known(self, template, homography) -> tuple[NDArray, NDArray] | None:
        """What pixels and points say of the next step: normal matrix (8, 8) and right-hand side (8,)."""
        shown, view, half = self.shown(homography), self.frames.view, self.half
        if shown.sum() < LEAST_PIXELS:
            return None
        seen = blurred(warped_onto(template.shape, self.pixels_1, homography))
        model = explained(template, seen, shown)
        weight = 1 / (model.variance * (1 + model.rest**2 / (ROBUST**2 * model.variance)))
        slope_x, slope_y = (
            cv2.Sobel(model.expected, cv2.CV_32F, *d, ksize=3) / 8 * np.float32(half) for d in ((1, 0), (0, 1))
        )
        y, x = np.nonzero(shown)
        u, v = x / half + view[0, 2], y / half + view[1, 2]
        jacobian = _chain(slope_x[shown], slope_y[shown], u.astype(np.float32), v.astype(np.float32))
        correlated = _correlated(model.rest * np.sqrt(weight), shown)
        weighted = jacobian * (weight[shown] / max(4 * math.pi * BLUR**2, correlated))[:, None]
        normal, right = (weighted.T @ jacobian).astype(np.float64), -(weighted.T @ model.rest[shown]).astype(np.float64)
        more_normal, more_right = _by_points(homography, self.points_0, self.points_1, view, half)
        return normal + more_normal, right + more_right


def _by_points(homography, points_0, points_1, view, half) -> tuple[NDArray, NDArray]:
    """What the points say of the next step: normal matrix (8, 8) and right-hand side (8,)."""
    missing = (moved(points_1, np.linalg.inv(homography)) - points_0) / half
    u, v = moved(points_0, view).T
    one, none = np.ones_like(u), np.zeros_like(u)
    by_x, by_y = _chain(one, none, u, v), _chain(none, one, u, v)
    distance = np.linalg.norm(missing, axis=1)
    spread = max(np.median(distance) / 1.18, LEAST_SPREAD / half)
    weight = (POINT_SHARE / spread**2 / (1 + (distance / (ROBUST * spread)) ** 2))[:, None]
    normal = (by_x * weight).T @ by_x + (by_y * weight).T @ by_y
    return normal, (by_x * weight).T @ missing[:, 0] + (by_y * weight).T @ missing[:, 1]


def _chain(slope_x, slope_y, u, v) -> NDArray:
    """Change (N, 8) of a value with these slopes: two shifts, scale, turn, two shears, two perspectives."""
    along, across = slope_x * u + slope_y * v, slope_y * u - slope_x * v
    return np.stack(
        (slope_x, slope_y, along, across, slope_x * u - slope_y * v, slope_x * v + slope_y * u, -u * along, -v * along),
        axis=1,
    )


def _correlated(rest: NDArray, shown: NDArray) -> float:
    """Over how many pixels the residual is one and the same: variance of its sums over blocks beside that of pixels."""
    height, width = (side // BLOCK * BLOCK for side in rest.shape)
    blocks = height // BLOCK, BLOCK, width // BLOCK, BLOCK
    kept = np.where(shown, rest, 0)
    sums, counts = (part[:height, :width].reshape(blocks).sum((1, 3)) for part in (kept, shown))
    full = counts > BLOCK**2 / 2
    if full.sum() < 8:
        return 1.0
    return float((sums[full] ** 2 / counts[full]).mean() / ((rest[shown] ** 2).mean() + 1e-12))


def _frames(shape: tuple[int, int], to_0: NDArray, to_1: NDArray, size: tuple[int, int]) -> Frames:
    return Frames(_centred(shape), to_0, to_1, _centred(size[::-1]))


def _centred(shape: tuple[int, int]) -> NDArray:
    """Pixels → coordinates around the middle in units of half the long side: matrix (3, 3)."""
    height, width = shape
    half = max(height, width) / 2
    return np.array([[1, 0, (1 - width) / 2], [0, 1, (1 - height) / 2], [0, 0, half]]) / half
