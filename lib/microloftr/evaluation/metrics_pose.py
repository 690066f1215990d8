"""Pose AUC, as the LoFTR papers report it: how far the relative pose of two cameras by matches is from the true one.

Micrographs have no cameras; these functions are for photographs with known ones (MegaDepth, ScanNet), so that what is
said of a matcher here can be held against published figures. Points are (x, y) in pixels, cameras 3×3 (focal lengths
and principal point in pixels), a pose (R, t) takes points of camera 0 to camera 1: X_1 = R·X_0 + t.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from microloftr.errors import ParameterError
from microloftr.evaluation.metrics import auc

THRESHOLD = 0.5  # px, of the estimator, as published
CONFIDENCE = 0.99999
POSE_THRESHOLDS = (5.0, 10.0, 20.0)  # degrees

Pose = tuple[np.ndarray, np.ndarray]


def relative_pose(
    points_0: np.ndarray,
    points_1: np.ndarray,
    camera_0: np.ndarray,
    camera_1: np.ndarray,
    threshold: float = THRESHOLD,
    method: int = cv2.RANSAC,
) -> Pose | None:
    """Rotation (3, 3) and direction of translation (3,) from matched points (M, 2); None from fewer than five.

    The published protocol (zju3dv/LoFTR, utils/metrics.py, `estimate_pose`): essential matrix by OpenCV's RANSAC on
    points in units of the focal length, `threshold` divided by the mean of the four of them, then the decomposition
    that puts most points before both cameras. `method`: another of OpenCV's estimators, such as cv2.USAC_MAGSAC.
    """
    points_0, points_1 = (np.asarray(points, np.float64).reshape(-1, 2) for points in (points_0, points_1))
    if len(points_0) < 5:
        return None
    rays_0, rays_1 = on_unit_plane(points_0, camera_0), on_unit_plane(points_1, camera_1)
    focal = np.mean([camera_0[0, 0], camera_0[1, 1], camera_1[0, 0], camera_1[1, 1]])
    found, mask = cv2.findEssentialMat(
        rays_0, rays_1, np.eye(3), threshold=threshold / focal, prob=CONFIDENCE, method=method
    )
    if found is None:
        return None
    best, most = None, 0
    for essential in np.split(found, len(found) // 3):  # the five-point method may leave several
        before, rotation, direction, _ = cv2.recoverPose(essential, rays_0, rays_1, np.eye(3), 1e9, mask=mask.copy())
        if before > most:
            best, most = (rotation, direction[:, 0]), before
    return best


def on_unit_plane(points: np.ndarray, camera: np.ndarray) -> np.ndarray:
    """Points (M, 2) in pixels as points of the plane one focal length away, (M, 2)."""
    camera = np.asarray(camera, np.float64)
    return (points - camera[:2, 2]) / np.diag(camera)[:2]


def rotation_error(estimated: np.ndarray, true: np.ndarray) -> float:
    """Angle in degrees of the rotation that is left between two."""
    cosine = (np.trace(np.asarray(estimated).T @ np.asarray(true)) - 1) / 2
    return float(np.rad2deg(np.arccos(np.clip(cosine, -1, 1))))


def translation_error(estimated: np.ndarray, true: np.ndarray) -> float:
    """Angle in degrees between two directions, at most 90: an essential matrix does not tell t from −t.

    0 where the true translation is none. Raises ParameterError for an estimate that has no direction.
    """
    lengths = np.linalg.norm(estimated), np.linalg.norm(true)
    if lengths[1] == 0:
        return 0.0
    if lengths[0] == 0:
        raise ParameterError("An estimated translation must have a direction; it is 0.")
    cosine = abs(float(np.dot(estimated, true))) / (lengths[0] * lengths[1])
    return float(np.rad2deg(np.arccos(min(cosine, 1.0))))


def pose_error(estimated: Pose | None, true: Pose) -> float:
    """The larger of rotation and translation error in degrees; infinity without an estimate."""
    if estimated is None:
        return float("inf")
    return max(rotation_error(estimated[0], true[0]), translation_error(estimated[1], true[1]))


def pose_auc(errors: Sequence[float], thresholds: Sequence[float] = POSE_THRESHOLDS) -> np.ndarray:
    """AUC of pose errors in degrees up to each threshold, (len(thresholds),); failures are infinite and count."""
    return auc(errors, thresholds)


def epipolar_distances(
    points_0: np.ndarray, points_1: np.ndarray, camera_0: np.ndarray, camera_1: np.ndarray, true: Pose
) -> np.ndarray:
    """Squared symmetric distance (M,) of each match from the true epipolar lines, on the plane one focal length away.

    Published precision is the share below 5e-4 (ScanNet) or 1e-4 (MegaDepth); a pair without matches has 0.
    """
    rotation, (x, y, z) = true
    essential = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]) @ rotation
    rays_0, rays_1 = (
        np.pad(
            on_unit_plane(np.asarray(points, np.float64).reshape(-1, 2), camera), ((0, 0), (0, 1)), constant_values=1
        )
        for points, camera in ((points_0, camera_0), (points_1, camera_1))
    )
    lines_1, lines_0 = rays_0 @ essential.T, rays_1 @ essential
    residual = (rays_1 * lines_1).sum(axis=1) ** 2
    return residual * (1 / (lines_1[:, :2] ** 2).sum(axis=1) + 1 / (lines_0[:, :2] ** 2).sum(axis=1))
