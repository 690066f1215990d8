"""RootSIFT, and nearest neighbours that are mutual and clear: the classical matcher of points, made fair."""

from typing import Any

import cv2
import numpy as np

from microloftr.evaluation.baselines.common import NO_RESIZE, made_matches
from microloftr.images import as_image
from microloftr.matches import Matches


class RootSIFT:
    """SIFT with Hellinger distances (Arandjelović & Zisserman 2012), made fair for micrographs.

    `enable_precise_upscale`: without it OpenCV's positions are a quarter of a pixel off in x and y, which shows under
    rotation (tests/test_baselines.py measures it). A low contrast threshold keeps flat micrographs; the ratio test and
    the mutual test throw out what it lets in. Confidence is 1 − the ratio of the best distance to the second best.
    """

    resize = NO_RESIZE

    def __init__(
        self,
        features: int = 8000,
        contrast_threshold: float = 0.008,
        edge_threshold: float = 20.0,
        ratio: float = 0.85,
        precise_upscale: bool = True,
    ) -> None:
        self.ratio = ratio
        self.sift = cv2.SIFT_create(features, 3, contrast_threshold, edge_threshold, 1.6, precise_upscale)

    def describe(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points (K, 2) and descriptors (K, 128) of unit length of a grey image (H, W) in 0..1."""
        grey = np.rint(np.clip(pixels, 0.0, 1.0) * 255.0).astype(np.uint8)
        keypoints, descriptors = self.sift.detectAndCompute(grey, None)
        if descriptors is None:
            return np.zeros((0, 2)), np.zeros((0, 128), np.float32)
        sums = np.maximum(descriptors.sum(axis=1, keepdims=True), 1e-12)
        return np.array([keypoint.pt for keypoint in keypoints], np.float64), np.sqrt(descriptors / sums)

    def match(self, image_0: Any, image_1: Any) -> Matches:
        image_0, image_1 = as_image(image_0), as_image(image_1)
        points_0, descriptors_0 = self.describe(image_0.pixels)
        points_1, descriptors_1 = self.describe(image_1.pixels)
        index_0, index_1, confidence = mutual_matches(descriptors_0, descriptors_1, self.ratio)
        return made_matches(points_0[index_0], points_1[index_1], confidence, image_0, image_1)


def mutual_matches(
    descriptors_0: np.ndarray, descriptors_1: np.ndarray, ratio: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Indices of mutual nearest neighbours of unit descriptors (K0, D), (K1, D) that pass the ratio test (Lowe 2004).

    Returns index_0 (M,), index_1 (M,) and confidence (M,) = 1 − best distance / second best, which is above 1 − ratio.
    """
    nothing = np.zeros(0, int), np.zeros(0, int), np.zeros(0)
    if len(descriptors_0) < 2 or len(descriptors_1) < 2:
        return nothing
    similarity = descriptors_0 @ descriptors_1.T
    best, back, rows = similarity.argmax(axis=1), similarity.argmax(axis=0), np.arange(len(similarity))
    first = similarity[rows, best].astype(np.float64)
    similarity[rows, best] = -np.inf
    second = similarity.max(axis=1).astype(np.float64)
    distance, distance_second = (np.sqrt(np.maximum(2.0 - 2.0 * s, 1e-9)) for s in (first, second))
    kept = np.flatnonzero((back[best] == rows) & (distance < ratio * distance_second))
    return kept, best[kept], np.clip(1.0 - distance[kept] / distance_second[kept], 0.0, 1.0)
