"""`Pair`: two images and what relates them, whatever protocol it comes from."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from microloftr.evaluation.metrics import Size


class Cameras(NamedTuple):
    """Two cameras (3, 3), focal lengths and principal point in px, and the pose X_1 = R·X_0 + t between them."""

    camera_0: np.ndarray
    camera_1: np.ndarray
    rotation: np.ndarray
    translation: np.ndarray


@dataclass(frozen=True, eq=False)
class Pair:
    """Two images and what relates them.

    image_0, image_1: (H, W) uint8, or float32 in 0..1; homography (3, 3) float64, points of image_0 to image_1;
    size_0, size_1: (width, height); accuracy_px: how good the truth is, 0 where it is exact, None where nobody knows;
    overlap: share of image_0 that image_1 shows; landmarks (K, 4) of x_0, y_0, x_1, y_1.
    cameras: of photographs with known ones. planar: whether the homography is a truth; a scene with depth has none, and
    its pairs carry the one of points infinitely far away.
    """

    id: str
    group: str
    source: str
    image_0: np.ndarray = field(repr=False)
    image_1: np.ndarray = field(repr=False)
    homography: np.ndarray = field(repr=False)
    accuracy_px: float | None
    size_0: Size
    size_1: Size
    modality: str | None = None
    overlap: float | None = None
    landmarks: np.ndarray | None = field(default=None, repr=False)
    cameras: Cameras | None = field(default=None, repr=False)
    planar: bool = field(default=True, repr=False)


def spread(count: int, limit: int | None) -> list[int]:
    """Indices of at most `limit` of `count` items, evenly spread over them, first and last among them."""
    if limit is None or limit >= count:
        return list(range(count))
    return np.linspace(0, count - 1, limit).round().astype(int).tolist()
