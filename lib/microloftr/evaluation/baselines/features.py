"""Matchers of points with descriptors: find points in each image, compare descriptors, keep what agrees both ways."""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from microloftr.evaluation.baselines.common import NO_RESIZE, made_matches
from microloftr.images import as_image
from microloftr.matches import Matches

Mutual = tuple[np.ndarray, np.ndarray, np.ndarray]  # index_0 (M,), index_1 (M,), confidence (M,) in 0..1
NOTHING: Mutual = (np.zeros(0, int), np.zeros(0, int), np.zeros(0))


class FeatureMatcher(ABC):
    """What such matchers share. One of them says how it describes an image and which descriptors belong together."""

    resize = NO_RESIZE

    @abstractmethod
    def describe(self, pixels: np.ndarray) -> tuple[np.ndarray, Any]:
        """Points (K, 2), pixel centres at integers, and their K descriptors, of a grey image (H, W) in 0..1."""

    @abstractmethod
    def mutual(self, descriptors_0: Any, descriptors_1: Any) -> Mutual:
        """Which descriptors are nearest to each other and clearly so."""

    def match(self, image_0: Any, image_1: Any) -> Matches:
        image_0, image_1 = as_image(image_0), as_image(image_1)
        points_0, descriptors_0 = self.describe(image_0.pixels)
        points_1, descriptors_1 = self.describe(image_1.pixels)
        index_0, index_1, confidence = self.mutual(descriptors_0, descriptors_1)
        return made_matches(points_0[index_0], points_1[index_1], confidence, image_0, image_1)


def grey_8bit(pixels: np.ndarray) -> np.ndarray:
    """An image (H, W) in 0..1 as OpenCV's detectors take it, uint8."""
    return np.rint(np.clip(pixels, 0.0, 1.0) * 255.0).astype(np.uint8)


def places(keypoints: Any) -> np.ndarray:
    """Where OpenCV's keypoints stand (K, 2)."""
    return np.array([keypoint.pt for keypoint in keypoints], np.float64).reshape(-1, 2)
