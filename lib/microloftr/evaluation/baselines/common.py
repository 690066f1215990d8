"""What the baselines share: their answers as `Matches`, also where a method finds a transform and no points."""

from importlib import import_module
from types import ModuleType

import cv2
import numpy as np

from microloftr.errors import WeightsError
from microloftr.evaluation.metrics import apply_homography
from microloftr.images import Image
from microloftr.matches import Matches

NO_RESIZE = "none: images as read"
SPACING = 16  # px between the points that stand for a transform


def made_matches(
    points_0: np.ndarray, points_1: np.ndarray, confidence: np.ndarray, image_0: Image, image_1: Image
) -> Matches:
    """`Matches` with the sizes and pixel sizes of two images as read."""
    sizes = [image.pixels.shape[::-1] for image in (image_0, image_1)]
    return Matches(points_0, points_1, confidence, *sizes, image_0.um_per_px, image_1.um_per_px)


def no_matches(image_0: Image, image_1: Image) -> Matches:
    """The answer of a matcher that found nothing."""
    return made_matches(np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0), image_0, image_1)


def matches_of(transform: np.ndarray, confidence: float, image_0: Image, image_1: Image) -> Matches:
    """A transform (3, 3) of points of image_0 to image_1 as a grid of points, those that image_1 shows.

    All have the same confidence, which is cut to 0..1.
    """
    height, width = image_0.pixels.shape
    x, y = (np.arange(SPACING // 2, side, SPACING, dtype=np.float64) for side in (width, height))
    points_0 = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    points_1 = apply_homography(transform, points_0)
    inside = ((points_1 >= 0) & (points_1 <= np.array(image_1.pixels.shape[::-1]) - 1)).all(axis=1)
    sure = np.full(inside.sum(), np.clip(confidence, 0.0, 1.0))
    return made_matches(points_0[inside], points_1[inside], sure, image_0, image_1)


def correlation_under(transform: np.ndarray, pixels_0: np.ndarray, pixels_1: np.ndarray) -> float:
    """Pearson's correlation of image_0 (H, W) with image_1 as a transform (3, 3) of points of image_0 sees it.

    Over the part that image_1 shows; 0 where that is less than 100 pixels, or one of them is constant.
    """
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    size = pixels_0.shape[::-1]
    seen = cv2.warpPerspective(np.asarray(pixels_1, np.float32), transform, size, flags=how)
    shown = cv2.warpPerspective(np.ones(pixels_1.shape, np.float32), transform, size, flags=how) > 0.999
    if shown.sum() < 100:
        return 0.0
    a, b = (image[shown] - image[shown].mean(dtype=np.float64) for image in (pixels_0, seen))
    norm = np.sqrt((a**2).sum() * (b**2).sum())
    return float(np.clip((a * b).sum() / norm, -1.0, 1.0)) if norm > 1e-9 else 0.0


def needed(module: str, name: str) -> ModuleType:
    """An optional package. Raises WeightsError where it is not installed, with what to do."""
    try:
        return import_module(module)
    except ImportError:
        package = module.partition(".")[0]
        raise WeightsError(f"The matcher {name} needs the package {package}: pip install -e '.[peers]'") from None
