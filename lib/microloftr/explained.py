"""How image_1 should look by what image_0 shows: a tone curve, a blur, then a gain and an offset that change slowly.

What this model leaves over says how much a place is worth (direct.py).
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

BLUR = 0.7  # pixels, of the image that is explained
BLURS = (BLUR, 1.2, 2.0, 2.7)  # of the one that explains, as far as it is sharper
SEEN = 192  # pixels; the blur is chosen in a window of this side
BINS = 64  # of grey values
LOCAL = 31  # side of the window, pixels, within which gain and offset are constant
LEAST_NOISE = 0.005  # of the range of grey values: pixels are never trusted more


@dataclass(frozen=True, eq=False)
class Explained:
    """All (H, W): image_1 as image_0 explains it, what is left over, its variance; local offsets taken out."""

    expected: NDArray
    rest: NDArray
    variance: NDArray


def explained(template: NDArray, seen: NDArray, shown: NDArray) -> Explained:
    """Image_1, warped onto image_0, as the template explains it where both are `shown`; all (H, W), grey in 0..1."""
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
    return Explained(expected, rest, variance + np.median(variance[shown]) + LEAST_NOISE**2)


def best_blur(pixels_0: NDArray, seen: NDArray, shown: NDArray) -> float:
    """The blur, one of BLURS, by which image_0 explains image_1 best: it is sharper by so much."""
    row, column = (int(np.median(places)) for places in np.nonzero(shown))
    window = tuple(slice(max(at - SEEN // 2, 0), at + SEEN // 2) for at in (row, column))
    left = {}
    for blur in BLURS:
        found = explained(blurred(pixels_0[window], blur), seen[window], shown[window])
        left[blur] = float((found.rest[shown[window]] ** 2).mean())
    return min(left, key=left.get)


def noise_share(pixels: NDArray) -> float:
    """Noise of an image (H, W) by its contrast: a second difference that structures hardly pass (Immerkær 1996)."""
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32) / 6
    noise = np.median(np.abs(cv2.filter2D(pixels, cv2.CV_32F, kernel))) / 0.6745
    return float(noise / (pixels.std() + 1e-6))


def blurred(pixels: NDArray, sigma: float = BLUR) -> NDArray:
    """Pixels (H, W) after a Gaussian blur of `sigma` pixels; borders are reflected."""
    return cv2.GaussianBlur(pixels, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101)


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


def _mean(values: NDArray) -> NDArray:
    return cv2.blur(cv2.blur(values, (LOCAL, LOCAL)), (LOCAL, LOCAL))


def _thirds(values: NDArray) -> NDArray:
    return np.convolve(np.pad(values, 1, mode="edge"), (0.25, 0.5, 0.25), "valid")
