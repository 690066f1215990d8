"""RootSIFT, and nearest neighbours that are mutual and clear: the classical matcher of points, made fair."""

import cv2
import numpy as np

from microloftr.evaluation.baselines.features import NOTHING, FeatureMatcher, Mutual, grey_8bit, places


class RootSIFT(FeatureMatcher):
    """SIFT with Hellinger distances (Arandjelović & Zisserman 2012), made fair for micrographs.

    `enable_precise_upscale`: without it OpenCV's positions are a quarter of a pixel off in x and y, which shows under
    rotation (tests/test_baselines.py measures it). A low contrast threshold keeps flat micrographs; the ratio test and
    the mutual test throw out what it lets in. Confidence is 1 − the ratio of the best distance to the second best.
    """

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
        keypoints, descriptors = self.sift.detectAndCompute(grey_8bit(pixels), None)
        if descriptors is None:
            return np.zeros((0, 2)), np.zeros((0, 128), np.float32)
        sums = np.maximum(descriptors.sum(axis=1, keepdims=True), 1e-12)
        return places(keypoints), np.sqrt(descriptors / sums)

    def mutual(self, descriptors_0: np.ndarray, descriptors_1: np.ndarray) -> Mutual:
        """See `mutual_matches`."""
        return mutual_matches(descriptors_0, descriptors_1, self.ratio)


def mutual_matches(descriptors_0: np.ndarray, descriptors_1: np.ndarray, ratio: float) -> Mutual:
    """Indices of mutual nearest neighbours of unit descriptors (K0, D), (K1, D) that pass the ratio test (Lowe 2004).

    Returns index_0 (M,), index_1 (M,) and confidence (M,) = 1 − best distance / second best, which is above 1 − ratio.
    """
    if len(descriptors_0) < 2 or len(descriptors_1) < 2:
        return NOTHING
    similarity = descriptors_0 @ descriptors_1.T
    best, back, rows = similarity.argmax(axis=1), similarity.argmax(axis=0), np.arange(len(similarity))
    first = similarity[rows, best].astype(np.float64)
    similarity[rows, best] = -np.inf
    second = similarity.max(axis=1).astype(np.float64)
    distance, distance_second = (np.sqrt(np.maximum(2.0 - 2.0 * s, 1e-9)) for s in (first, second))
    kept = np.flatnonzero((back[best] == rows) & (distance < ratio * distance_second))
    return kept, best[kept], np.clip(1.0 - distance[kept] / distance_second[kept], 0.0, 1.0)
