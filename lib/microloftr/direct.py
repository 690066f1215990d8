"""Direct alignment: one homography from all the pixels that two images share, and from the points already found.

Following patches measures every place alone and loses what a patch does not show: a single edge, a faint texture. Here
all pixels of the overlap move together (Lucas and Kanade 1981; Baker and Matthews 2004, the compositional form).
Between the images stands a model of how they look: image_0's grey values through a tone curve, then a gain and an
offset that change slowly. What this model leaves over decides how much each place counts, and how much all pixels
together count against the points, which know less but are misled by other things.
"""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from microloftr.alignment import Points
from microloftr.guided import LEAST_POINTS, moved, shown_by, warped_onto

STEPS = 5
STILL = 0.01  # pixels; a step below it is the last
REACH = 0.3  # of half the long side; a larger step means that nothing holds the transform
LEAST_PIXELS = 500
BLUR = 1.0  # pixels
BINS = 64  # of image_0's grey values
LOCAL = 31  # side of the window, pixels, within which gain and offset are constant
LEAST_NOISE = 0.005  # of the range of grey values: pixels are never trusted more
ROBUST = 2.5  # spreads; what differs more counts less
POINT_SHARE = 1 / 9  # points every 8 pixels with windows of 21 and more: about nine share what they saw
LEAST_SPREAD = 0.1  # pixels; points are never trusted more
SHEAR, PERSPECTIVE = 0.015, 0.02  # spread of what micrographs do beyond a similarity; the latter over half an image
FAR = 4.0  # pixels; what lies farther from the homography is no noise of it
NEIGHBOUR = 32  # pixels: windows of points so far from each other show different pixels
BLOCK = 16  # pixels; noise does not reach so far, what the tone curve got wrong does


def aligned(
    pixels_0: NDArray, pixels_1: NDArray, first: NDArray, points_0: Points, points_1: Points
) -> NDArray[np.float64] | None:
    """The homography (3, 3) of two images (H, W) in 0..1, near `first` and near to what points (M, 2) say.

    None where nothing holds it.
    """
    template, (frame, half) = _blurred(pixels_0), _centred(pixels_0.shape)
    homography = first / first[2, 2]
    for _ in range(STEPS):
        try:
            step = _step(template, pixels_1, homography, points_0, points_1, frame, half)
        except np.linalg.LinAlgError:  # a homography that cannot be turned round, or points all in one place
            return None
        if step is None:
            return None
        homography = homography @ np.linalg.inv(frame) @ (np.eye(3) + _as_matrix(step)) @ frame
        homography = homography / homography[2, 2]
        if np.abs(step).max() * half < STILL:
            break
    return homography


def drawn_to(homography: NDArray, points_0: Points, points_1: Points) -> Points:
    """Points_1 (M, 2), moved as far towards where the homography puts points_0 as their residuals are noise.

    Noise of one place says nothing of the next; a deformation does. The share of the residuals that neighbouring
    blocks have in common stays (Wiener's weight). Points beyond FAR pixels are left alone.
    """
    there = moved(points_0, homography)
    rest = points_1 - there
    near = np.linalg.norm(rest, axis=1) < FAR
    if near.sum() < LEAST_POINTS:
        return points_1
    kept = _shared(points_0[near], rest[near])
    return np.where(near[:, None], there + kept * rest, points_1)


def _shared(points: Points, rest: NDArray) -> float:
    """Share, 0 … 1, of the variance of residuals (M, 2) that blocks of NEIGHBOUR pixels share with the next ones."""
    column, row = np.floor((points - points.min(0)) / NEIGHBOUR).astype(int).T
    shape = row.max() + 1, column.max() + 1
    count = np.zeros(shape)
    sums = np.zeros((2, *shape))
    np.add.at(count, (row, column), 1)
    for k in range(2):
        np.add.at(sums[k], (row, column), rest[:, k])
    mean = sums / np.maximum(count, 1)
    products, weights = 0.0, 0.0
    for one, other in (((slice(None), slice(1, None)), (slice(None), slice(None, -1))),
                       ((slice(1, None), slice(None)), (slice(None, -1), slice(None)))):  # fmt: skip
        weight = np.sqrt(count[one] * count[other])
        products += float((weight * (mean[:, *one] * mean[:, *other]).sum(0)).sum())
        weights += float(weight.sum())
    variance = float((rest**2).sum(1).mean())
    if not weights or not variance:
        return 1.0
    return min(max(products / weights / variance, 0.0), 1.0)


def _step(template, pixels_1, homography, points_0, points_1, frame, half) -> NDArray | None:
    """The next change (8,) of the homography, in image_0's centred frame."""
    shape = template.shape
    shown = cv2.erode(shown_by(shape, pixels_1.shape, homography).astype(np.uint8), np.ones((5, 5))) > 0
    if shown.sum() < LEAST_PIXELS:
        return None
    seen = _blurred(warped_onto(shape, pixels_1, homography))
    expected, rest, variance = _explained(template, seen, shown)
    weight = 1 / (variance * (1 + rest**2 / (ROBUST**2 * variance)))
    slope_x, slope_y = (cv2.Sobel(expected, cv2.CV_32F, *d, ksize=3) / 8 * half for d in ((1, 0), (0, 1)))
    y, x = np.nonzero(shown)
    u, v = (x + frame[0, 2] * half) / half, (y + frame[1, 2] * half) / half
    jacobian = _chain(slope_x[shown], slope_y[shown], u.astype(np.float32), v.astype(np.float32))
    independent = 1 / max(4 * math.pi * BLUR**2, _correlated(rest * np.sqrt(weight), shown))
    weighted = jacobian * (weight[shown] * independent)[:, None]
    normal = (weighted.T @ jacobian).astype(np.float64)
    right = -(weighted.T @ rest[shown]).astype(np.float64)
    for more_normal, more_right in (_by_points(homography, points_0, points_1, frame, half), _usual(homography, frame)):
        normal, right = normal + more_normal, right + more_right
    step = np.linalg.solve(normal, right)
    return step if np.isfinite(step).all() and np.abs(step).max() < REACH else None


def _explained(template: NDArray, seen: NDArray, shown: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    """image_1 as image_0 explains it, what is left over, and its variance; all (H, W), offsets taken out."""
    share = shown.astype(np.float32)
    count = np.maximum(_mean(share), 1e-3)

    def local(values: NDArray) -> NDArray:
        return _mean(values * share) / count

    toned = _toned(template, seen, shown)
    toned, seen = toned - local(toned), seen - local(seen)
    gain = np.clip(local(toned * seen) / (local(toned**2) + 1e-6), 0, 3)
    expected = gain * toned
    rest = seen - expected
    variance = local(rest**2)
    return expected, rest, variance + np.median(variance[shown]) + LEAST_NOISE**2


def _toned(template: NDArray, seen: NDArray, shown: NDArray) -> NDArray:
    """Grey values of image_0 (H, W) as image_1 shows them: the mean of image_1 over the places of equal grey value."""
    low, high = template.min(), template.max()
    place = (template - low) * np.float32((BINS - 1) / max(high - low, 1e-6))
    below = np.minimum(place.astype(np.int64), BINS - 2)
    part = place - below.astype(np.float32)
    here, share, grey = below[shown], part[shown], seen[shown]
    count = np.bincount(here, 1 - share, BINS) + np.bincount(here + 1, share, BINS)
    sums = np.bincount(here, grey * (1 - share), BINS) + np.bincount(here + 1, grey * share, BINS)
    filled = np.maximum(_thirds(count), 1e-9)
    mean = np.interp(np.arange(BINS), np.flatnonzero(filled > 1e-6), (_thirds(sums) / filled)[filled > 1e-6])
    mean = mean.astype(np.float32)
    return mean[below] * (1 - part) + mean[below + 1] * part


def _by_points(homography, points_0, points_1, frame, half) -> tuple[NDArray, NDArray]:
    """What the points say of the next change: normal matrix (8, 8) and right-hand side (8,)."""
    missing = (moved(points_1, np.linalg.inv(homography)) - points_0) / half
    u, v = moved(points_0, frame).T
    one, none = np.ones_like(u), np.zeros_like(u)
    by_x, by_y = _chain(one, none, u, v), _chain(none, one, u, v)
    distance = np.linalg.norm(missing, axis=1)
    spread = max(np.median(distance) / 1.18, LEAST_SPREAD / half)
    weight = (POINT_SHARE / spread**2 / (1 + (distance / (ROBUST * spread)) ** 2))[:, None]
    normal = (by_x * weight).T @ by_x + (by_y * weight).T @ by_y
    return normal, (by_x * weight).T @ missing[:, 0] + (by_y * weight).T @ missing[:, 1]


def _usual(homography: NDArray, frame: NDArray) -> tuple[NDArray, NDArray]:
    """What is known before: micrographs differ by little more than a similarity. Normal matrix and right-hand side."""
    centred = homography @ np.linalg.inv(frame)
    centred = centred / centred[2, 2]
    perspective = centred[2, :2]
    linear = centred[:2, :2] - np.outer(centred[:2, 2], perspective)
    angle = math.atan2(linear[1, 0] - linear[0, 1], linear[0, 0] + linear[1, 1])
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    left = turn.T @ linear / math.sqrt(abs(np.linalg.det(linear)))
    beyond = np.array([(left[0, 0] - left[1, 1]) / 2, (left[0, 1] + left[1, 0]) / 2, *perspective])
    trust = np.array([1 / SHEAR**2] * 2 + [1 / PERSPECTIVE**2] * 2)
    return np.diag([0, 0, 0, 0, *trust]), np.array([0, 0, 0, 0, *(-trust * beyond)])


def _chain(slope_x, slope_y, u, v) -> NDArray:
    """Change (N, 8) of a value with these slopes: two shifts, scale, turn, two shears, two perspectives."""
    along, across = slope_x * u + slope_y * v, slope_y * u - slope_x * v
    return np.stack(
        (slope_x, slope_y, along, across, slope_x * u - slope_y * v, slope_x * v + slope_y * u, -u * along, -v * along),
        axis=1,
    )


def _as_matrix(step: NDArray) -> NDArray:
    x, y, scale, turn, shear_x, shear_y, lean_x, lean_y = step
    return np.array([[scale + shear_x, shear_y - turn, x], [turn + shear_y, scale - shear_x, y], [lean_x, lean_y, 0]])


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


def _centred(shape: tuple[int, int]) -> tuple[NDArray, float]:
    """Pixels → coordinates around the middle in units of half the long side: matrix (3, 3), and that half."""
    height, width = shape
    half = max(height, width) / 2
    return np.array([[1, 0, (1 - width) / 2], [0, 1, (1 - height) / 2], [0, 0, half]]) / half, half


def _blurred(pixels: NDArray) -> NDArray:
    return cv2.GaussianBlur(pixels, (0, 0), BLUR, borderType=cv2.BORDER_REFLECT_101)


def _mean(values: NDArray) -> NDArray:
    return cv2.blur(cv2.blur(values, (LOCAL, LOCAL)), (LOCAL, LOCAL))


def _thirds(values: NDArray) -> NDArray:
    return np.convolve(np.pad(values, 1, mode="edge"), (0.25, 0.5, 0.25), "valid")
