"""ORB and AKAZE: corners and blobs with binary descriptors, fast, from OpenCV."""

from typing import Any

import cv2
import numpy as np

from microloftr.errors import WeightsError
from microloftr.evaluation.baselines.features import NOTHING, FeatureMatcher, Mutual, grey_8bit, places

RATIO = 0.9


class BinaryFeatures(FeatureMatcher):
    """An OpenCV detector with binary descriptors; matches are mutual, by Hamming distance, and pass the ratio test.

    Confidence is 1 − the ratio of the best distance to the second best.
    """

    def __init__(self, detector: Any, ratio: float = RATIO) -> None:
        self.detector, self.ratio = detector, ratio

    def describe(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points (K, 2) and descriptors (K, bytes) uint8 of a grey image (H, W) in 0..1."""
        keypoints, descriptors = self.detector.detectAndCompute(grey_8bit(pixels), None)
        if descriptors is None:
            return np.zeros((0, 2)), np.zeros((0, 32), np.uint8)
        return self.points(keypoints), descriptors

    def points(self, keypoints: Any) -> np.ndarray:
        """Where keypoints stand, pixel centres at integers (K, 2)."""
        return places(keypoints)

    def mutual(self, descriptors_0: np.ndarray, descriptors_1: np.ndarray) -> Mutual:
        """See `mutual_binary`."""
        return mutual_binary(descriptors_0, descriptors_1, self.ratio)


class ORB(BinaryFeatures):
    """ORB (Rublee et al., ICCV 2011) made fair for micrographs.

    OpenCV finds points on shrunk copies and multiplies their coordinates by the scale, which is right at pixel edges
    and not at centres: points of the smallest copy are 1.3 px off, which shows under rotation. Here they are put right.
    FAST's threshold is 5 instead of 20, for flat images.
    """

    def __init__(
        self, features: int = 8000, fast_threshold: int = 5, ratio: float = RATIO, centred: bool = True
    ) -> None:
        super().__init__(cv2.ORB_create(features, fastThreshold=fast_threshold), ratio)
        self.centred = centred

    def points(self, keypoints: Any) -> np.ndarray:
        points = super().points(keypoints)
        scale = self.detector.getScaleFactor() ** np.array([keypoint.octave for keypoint in keypoints])
        return points + (scale[:, None] - 1) / 2 * self.centred


class AKAZE(BinaryFeatures):
    """AKAZE (Alcantarilla et al., BMVC 2013): blobs of a nonlinear scale space, which keeps edges.

    In OpenCV 4; version 5 has it in opencv-contrib-python alone. Raises WeightsError where OpenCV lacks it. The
    threshold is a third of OpenCV's, for flat images.
    """

    def __init__(self, threshold: float = 3e-4, ratio: float = RATIO) -> None:
        place = getattr(cv2, "xfeatures2d", None)
        create = getattr(cv2, "AKAZE_create", None) or getattr(place, "AKAZE_create", None)
        if create is None:
            raise WeightsError(
                f"The matcher akaze needs an OpenCV with AKAZE, and {cv2.__version__} has none; version 4 has it, and "
                "from 5 on opencv-contrib-python-headless."
            )
        super().__init__(create(threshold=threshold), ratio)


def mutual_binary(descriptors_0: np.ndarray, descriptors_1: np.ndarray, ratio: float) -> Mutual:
    """Indices of mutual nearest neighbours of binary descriptors (K0, bytes), (K1, bytes) that pass the ratio test.

    Returns index_0 (M,), index_1 (M,) and confidence (M,) = 1 − best distance / second best.
    """
    if len(descriptors_0) < 2 or len(descriptors_1) < 2:
        return NOTHING
    matcher = cv2.BFMatcher(cv2.NORM_HAMMING)
    two = matcher.knnMatch(descriptors_0, descriptors_1, 2)
    back = {match.queryIdx: match.trainIdx for match in matcher.match(descriptors_1, descriptors_0)}
    kept = [
        (best.queryIdx, best.trainIdx, 1 - best.distance / second.distance)
        for best, second in two
        if back[best.trainIdx] == best.queryIdx and best.distance < ratio * second.distance
    ]
    index_0, index_1, confidence = zip(*kept, strict=True) if kept else ((), (), ())
    return np.array(index_0, int), np.array(index_1, int), np.array(confidence, np.float64)
