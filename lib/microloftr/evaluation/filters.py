"""Eight ways to shrink an image, and what each does to a sinusoid, to a known shift and to the pixel frame.

Four kernels, each twice: with a fixed support (it looks at the few pixels nearest to a point, however many lie between
two such points) and stretched by the shrink factor (it looks at all of them, which is what antialiasing is). The
nearest pixel, stretched, is the mean over an area.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image as PillowImage
from scipy.ndimage import gaussian_filter
from scipy.ndimage import shift as moved

from microloftr.errors import ParameterError
from microloftr.images import resize

KERNELS = ("nearest", "bilinear", "bicubic", "Lanczos")
FIXED = dict(zip(KERNELS, (cv2.INTER_NEAREST, cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4), strict=True))
STRETCHED = {"bilinear": PillowImage.Resampling.BILINEAR, "bicubic": PillowImage.Resampling.BICUBIC}


@dataclass(frozen=True)
class Filter:
    """One way to shrink: a kernel of KERNELS, antialiased or not. Raises ParameterError for an unknown kernel."""

    kernel: str
    antialiased: bool

    def __post_init__(self) -> None:
        if self.kernel not in KERNELS:
            raise ParameterError(f"there is no kernel {self.kernel!r}; there are {', '.join(KERNELS)}")

    @property
    def key(self) -> str:
        """The name in records."""
        return f"{self.kernel.lower()}_{'antialiased' if self.antialiased else 'fixed'}"

    @property
    def label(self) -> str:
        """The name in figures."""
        if not self.antialiased:
            return self.kernel
        return "area" if self.kernel == "nearest" else f"{self.kernel}, antialiased"

    def __call__(self, pixels: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        """Resample (H, W) in 0..1 to `shape` = (height, width); float32, unclipped but for the project's own `resize`.

        "Lanczos, antialiased" is that `resize`; the other stretched kernels are Pillow's, and OpenCV's for the area.
        All fixed ones are OpenCV's (its Lanczos has 8 taps, a = 4).
        """
        height, width = shape
        pixels = np.ascontiguousarray(pixels, dtype=np.float32)
        if not self.antialiased:
            return cv2.resize(pixels, (width, height), interpolation=FIXED[self.kernel])
        if self.kernel == "nearest":
            return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
        if self.kernel == "Lanczos":
            return resize(pixels, shape)
        return np.asarray(PillowImage.fromarray(pixels).resize((width, height), STRETCHED[self.kernel]))


FILTERS = tuple(Filter(kernel, antialiased) for antialiased in (False, True) for kernel in KERNELS)
LOADER = Filter("bilinear", False)  # what the published LoFTR loads images with: cv2.resize as it comes
OURS = Filter("Lanczos", True)
MEASURE_BLUR = 0.7  # px, of the small images whose shift is measured


def amplitude_kept(shrink: Filter, frequencies: Sequence[float], factor: int = 4, phases: int = 8) -> np.ndarray:
    """What is left of a sinusoid's amplitude after shrinking by a whole `factor`, (F,).

    frequencies (F,) in cycles per pixel of the small image. Below ½ it can hold them, and 1 is right; above ½ what is
    left shows as a coarser pattern that the specimen does not have, and 0 is right. It is the root of twice the mean
    square along the middle of the line, over the phases, by the amplitude that went in. Raises ParameterError for
    frequencies that the large image cannot hold.
    """
    if not 0 < np.min(frequencies) <= np.max(frequencies) <= factor / 2:
        raise ParameterError(f"shrinking {factor}× needs frequencies above 0 and up to {factor / 2:g} cycles per pixel")
    side, edge = 128, 32
    x = (np.arange(side * factor) + 0.5) / factor  # in pixels of the small image, from its edge
    kept = []
    for frequency in frequencies:
        waves = [np.sin(2 * np.pi * (frequency * x + phase / phases)) for phase in range(phases)]
        lines = [shrink(np.tile(0.5 + 0.25 * wave, (4 * factor, 1)), (4, side))[2, edge:-edge] for wave in waves]
        kept.append(np.sqrt(2 * np.mean((np.array(lines, np.float64) - 0.5) ** 2)) / 0.25)
    return np.array(kept)


def measure_shift(image_0: np.ndarray, image_1: np.ndarray, edge: int = 8, steps: int = 20) -> np.ndarray:
    """How far, (2,) as (x, y) in px, what image_0 (H, W) shows has moved in image_1, by least squares.

    Gauss–Newton steps on the squared difference (Lucas & Kanade 1981), quintic splines between the pixels, `edge`
    pixels left out; for shifts of a pixel or two. Both images are blurred a little first: splines are not exact for
    patterns of two pixels. Raises ParameterError for images of other or too small sizes.
    """
    if image_0.shape != image_1.shape or min(image_0.shape) <= 2 * edge + 2:
        raise ParameterError(f"a shift needs two images of one size above {2 * edge + 2} px, not {image_0.shape}")
    image_0, image_1 = (gaussian_filter(image.astype(np.float64), MEASURE_BLUR) for image in (image_0, image_1))
    inside = (slice(edge, -edge),) * 2
    found = np.zeros(2)  # (y, x)
    for _ in range(steps):
        back = moved(image_1, -found, order=5, mode="mirror")
        slopes = [slope[inside].ravel() for slope in np.gradient((image_0 + back) / 2)]
        step = np.linalg.lstsq(np.stack(slopes, 1), (image_0 - back)[inside].ravel(), rcond=None)[0]
        found = found + step
        if np.abs(step).max() < 1e-4:
            break
    return found[::-1]


def shift_errors(
    shrink: Filter, pixels: np.ndarray, shifts: Sequence[tuple[int, int]], shape: tuple[int, int], side: int
) -> np.ndarray:
    """Measured less true shift (K, 2), in pixels of the small image: a known sub-pixel shift through the filter.

    A window of `side` pixels and the same one `shifts` (x, y) whole pixels further on are shrunk to `shape`, and the
    shift between the two small images is measured. No pixel is interpolated to make the truth, shift · shape / side,
    a fraction of a small pixel. Raises ParameterError where the windows do not fit.
    """
    if min(pixels.shape) < side + np.max(shifts) or np.min(shifts) < 0:
        raise ParameterError(f"windows of {side} px, shifted by up to {np.max(shifts)} px, do not fit {pixels.shape}")
    first = shrink(pixels[:side, :side], shape)
    found = [measure_shift(first, shrink(pixels[y : y + side, x : x + side], shape)) for x, y in shifts]
    return np.array(found) + np.array(shifts) * np.array(shape[::-1]) / side  # the content moves the other way


def frame_error(shrink: Filter, shape: tuple[int, int], small: tuple[int, int], blobs: int = 25) -> np.ndarray:
    """How far a filter moves what it shows, (2,) as (x, y) in pixels of the small image; 0 keeps the frame.

    Smooth blobs of known centres on images of `shape` are shrunk to `small`, and their centroids there compared with
    x_out = (x_in + ½)·s − ½. The mean over the blobs: what all of them share.
    """
    scale = np.array(small[::-1]) / np.array(shape[::-1])
    y, x = np.mgrid[: shape[0], : shape[1]]
    small_y, small_x = np.mgrid[: small[0], : small[1]]
    spread = 2.5 / scale  # px: smooth for every kernel
    centres = np.random.default_rng(0).uniform(0.35, 0.65, (blobs, 2)) * shape[::-1]
    errors = []
    for centre in centres:
        blob = np.exp(-(((x - centre[0]) / spread[0]) ** 2 + ((y - centre[1]) / spread[1]) ** 2) / 2)
        image = shrink(blob, small).astype(np.float64)
        found = np.array([(image * small_x).sum(), (image * small_y).sum()]) / image.sum()
        errors.append(found - ((centre + 0.5) * scale - 0.5))
    return np.mean(errors, axis=0)
