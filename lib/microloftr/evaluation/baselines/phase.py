"""Phase correlation with a sub-pixel peak: the classical answer where two images differ by a shift alone."""

from typing import Any

import numpy as np
from scipy.signal.windows import tukey
from skimage.registration import phase_cross_correlation

from microloftr.evaluation.baselines.common import NO_RESIZE, made_matches
from microloftr.images import as_image
from microloftr.matches import Matches


class PhaseCorrelation:
    """The shift of two images from the phase of their spectra (Kuglin & Hines 1975; sub-pixel: Guizar-Sicairos 2008).

    scikit-image's `phase_cross_correlation` on images less their mean, their edges faded out by halves of a Hann window
    over 5 % of the side each (a full Hann window would fade out the strip that two tiles share). Of the shifts that a
    periodic spectrum cannot tell apart, that with the most significant correlation is taken. Knows shifts alone.
    The answer is a grid of points of image_0 and where they lie in image_1. Their confidence is the correlation of the
    grey values at that peak, 0 where it is negative. (The error that scikit-image returns with normalised phases is
    near 1 whatever the match.)
    """

    resize = NO_RESIZE

    def __init__(self, upsample_factor: int = 50, taper: float = 0.1, grid: int = 16) -> None:
        self.upsample_factor, self.taper, self.grid = upsample_factor, taper, grid

    def shift(self, pixels_0: np.ndarray, pixels_1: np.ndarray) -> tuple[np.ndarray, float] | None:
        """(x, y) to add to points of image_0, and the correlation of the overlap; None where an image is constant."""
        if min(np.ptp(pixels_0), np.ptp(pixels_1)) < 1e-6:
            return None
        shape = np.maximum(pixels_0.shape, pixels_1.shape)
        padded = [self._faded(pixels, shape) for pixels in (pixels_0, pixels_1)]
        back, _, _ = phase_cross_correlation(*padded, upsample_factor=self.upsample_factor)
        shift = -np.asarray(back, np.float64)[::-1]
        period = shape[::-1]
        shifts = [shift - np.sign(shift) * period * wrapped for wrapped in ([0, 0], [0, 1], [1, 0], [1, 1])]
        correlations = [overlap_correlation(pixels_0, pixels_1, candidate) for candidate in shifts]
        best = int(np.argmax([correlation * np.sqrt(count) for correlation, count in correlations]))
        return shifts[best], max(correlations[best][0], 0.0)

    def match(self, image_0: Any, image_1: Any) -> Matches:
        image_0, image_1 = as_image(image_0), as_image(image_1)
        found = self.shift(image_0.pixels, image_1.pixels)
        if found is None:
            return made_matches(np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0), image_0, image_1)
        shift, correlation = found
        height, width = image_0.pixels.shape
        x, y = (np.arange(self.grid // 2, side, self.grid, dtype=np.float64) for side in (width, height))
        points_0 = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
        points_1 = points_0 + shift
        inside = ((points_1 >= 0) & (points_1 <= np.array(image_1.pixels.shape[::-1]) - 1)).all(axis=1)
        confidence = np.full(inside.sum(), correlation)
        return made_matches(points_0[inside], points_1[inside], confidence, image_0, image_1)

    def _faded(self, pixels: np.ndarray, shape: np.ndarray) -> np.ndarray:
        faded = (pixels - pixels.mean(dtype=np.float64)) * np.outer(*(tukey(side, self.taper) for side in pixels.shape))
        return np.pad(faded, [(0, side - have) for side, have in zip(shape, pixels.shape, strict=True)])


def overlap_correlation(pixels_0: np.ndarray, pixels_1: np.ndarray, shift: np.ndarray) -> tuple[float, int]:
    """Pearson's correlation of what two images share after a shift (x, y) to whole pixels, and its number of pixels."""
    parts_0, parts_1 = [], []
    for side_0, side_1, move in zip(pixels_0.shape, pixels_1.shape, np.rint(shift[::-1]).astype(int), strict=True):
        start, stop = max(0, -move), min(side_0, side_1 - move)
        if stop - start < 2:
            return 0.0, 0
        parts_0.append(slice(start, stop))
        parts_1.append(slice(start + move, stop + move))
    a, b = (part - part.mean(dtype=np.float64) for part in (pixels_0[tuple(parts_0)], pixels_1[tuple(parts_1)]))
    norm = np.sqrt((a**2).sum() * (b**2).sum())
    return (float(np.clip((a * b).sum() / norm, -1.0, 1.0)) if norm > 0 else 0.0), a.size
