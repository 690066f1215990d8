"""`Transform`: where the points of image_0 lie in image_1, and its estimation from matches."""

import json
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from microloftr.errors import ParameterError, TransformError
from microloftr.files import write_json
from microloftr.matches import Matches, check_pixel_size, check_size
from microloftr.registration.families import FAMILIES, find_homography, fit_robust, move_points, residuals
from microloftr.registration.plausible import a_family, by_chance, impossible, local_linear, too_few, undetermined

__all__ = [
    "AUTO",
    "DIRECTION",
    "FRAME",
    "Transform",
    "check_request",
    "estimate_transform",
    "find_homography",
    "try_family",
]

AUTO = "auto"
DIRECTION = "points of image_0 -> points of image_1"
FRAME = "pixels, (x, y): the centre of the top-left pixel is (0, 0), x right, y down"
LEAST_NOISE = 0.1  # px: below it resampling and lens distortion decide, not the family


@dataclass(frozen=True, eq=False)
class Transform:
    """The map from image_0 to image_1: (x_1, y_1, 1) ~ matrix @ (x_0, y_0, 1).

    matrix (3, 3) float64 with [2, 2] = 1, as scikit-image, OpenCV and kornia take it. Pixels of the images as read, the
    centre of the top-left pixel is (0, 0), x right, y down. size_0, size_1: (width, height).
    family: translation, rigid, similarity, affine or homography; rigid is meant in pixels, so images of unequal pixel
    size want a similarity.
    inliers (M,) bool and residuals (M,) in pixels of image_1, one for each match that it was estimated from; empty for
    a transform that was loaded, which knows n_matches, n_inliers and median_residual (of the inliers) only.
    """

    matrix: np.ndarray
    family: str
    size_0: tuple[int, int]
    size_1: tuple[int, int]
    inliers: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=bool), repr=False)
    residuals: np.ndarray = field(default_factory=lambda: np.zeros(0), repr=False)
    threshold: float = 2.0
    um_per_px_0: float | None = None
    um_per_px_1: float | None = None
    n_matches: int | None = None
    n_inliers: int | None = None
    median_residual: float | None = None

    def __post_init__(self) -> None:
        inliers, errors = np.array(self.inliers, dtype=bool), np.array(self.residuals, dtype=np.float64)
        if inliers.shape != errors.shape or inliers.ndim != 1:
            raise TransformError("inliers and residuals must both have the shape (M,).")
        values: dict[str, Any] = {"matrix": _checked_matrix(self.matrix, self.family), "inliers": inliers}
        values["residuals"] = errors
        for array in values.values():
            array.setflags(write=False)
        for name in ("size_0", "size_1"):
            values[name] = _as_transform_error(check_size, name, getattr(self, name))
        for name in ("um_per_px_0", "um_per_px_1"):
            values[name] = _as_transform_error(check_pixel_size, name, getattr(self, name))
        if len(inliers):
            values |= {"n_matches": len(inliers), "n_inliers": int(inliers.sum())}
            values["median_residual"] = float(np.median(errors[inliers])) if inliers.any() else None
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def apply(self, points: np.ndarray) -> np.ndarray:
        """Points (M, 2) of image_0 moved into image_1, float64; NaN for points on or behind the horizon."""
        points = np.asarray(points, dtype=np.float64)
        if points.ndim != 2 or points.shape[1] != 2:
            raise TransformError(f"points must have the shape (M, 2), got {points.shape}.")
        return move_points(points, self.matrix)

    def inverse(self) -> "Transform":
        """The map from image_1 to image_0; residuals and threshold are divided by the scale at the centre."""
        return replace(
            self,
            matrix=np.linalg.inv(self.matrix),
            size_0=self.size_1,
            size_1=self.size_0,
            um_per_px_0=self.um_per_px_1,
            um_per_px_1=self.um_per_px_0,
            residuals=self.residuals / self.scale,
            threshold=self.threshold / self.scale,
            median_residual=None if self.median_residual is None else self.median_residual / self.scale,
        )

    @property
    def scale(self) -> float:
        """How many pixels of image_1 one pixel of image_0 becomes, at the centre of image_0."""
        return float(np.sqrt(abs(np.linalg.det(self._centre_linear))))

    @property
    def rotation_deg(self) -> float:
        """The angle by which x turns towards y (clockwise on the screen) from image_0 to image_1, at the centre."""
        a = self._centre_linear
        return float(np.degrees(np.arctan2(a[1, 0] - a[0, 1], a[0, 0] + a[1, 1])))

    @property
    def overlap(self) -> float:
        """The share of image_0 that image_1 shows, from a grid of 100 × 100 points."""
        (width, height), limit = self.size_0, np.array(self.size_1) - 0.5
        x, y = (np.arange(100) + 0.5) * width / 100 - 0.5, (np.arange(100) + 0.5) * height / 100 - 0.5
        moved = self.apply(np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2))
        return float(((moved >= -0.5) & (moved <= limit)).all(axis=1).mean())

    @property
    def _centre_linear(self) -> np.ndarray:
        centre = (np.array([self.size_0], dtype=np.float64) - 1) / 2
        return local_linear(centre, self.matrix)[0]

    def save(self, path: str | os.PathLike) -> None:
        """Write JSON that says direction, frame, matrix, family, sizes, and how well the matches agree."""
        values = {"direction": DIRECTION, "frame": FRAME, "family": self.family, "matrix": self.matrix.tolist()}
        values |= {"size_0": list(self.size_0), "size_1": list(self.size_1)}
        values |= {"um_per_px_0": self.um_per_px_0, "um_per_px_1": self.um_per_px_1}
        values |= {"matches": self.n_matches, "inliers": self.n_inliers}
        values |= {"threshold_px": self.threshold, "median_residual_px": self.median_residual}
        write_json(path, values)

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Transform":
        """Read what `save` wrote; TransformError says what is wrong with the file."""
        path = Path(path)
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise TransformError(f"There is no file {path}.") from None
        except (OSError, ValueError):
            raise TransformError(f"{path} is not a transform: JSON is needed.") from None
        needed = ("direction", "frame", "family", "matrix", "size_0", "size_1")
        missing = [name for name in needed if not isinstance(values, dict) or name not in values]
        if missing:
            raise TransformError(f"{path} is not a transform: it lacks {', '.join(missing)}.")
        for name, expected in (("direction", DIRECTION), ("frame", FRAME)):
            if values[name] != expected:
                raise TransformError(f"{path} has the {name} {values[name]!r}; {expected!r} is needed.")
        try:
            return cls(
                matrix=values["matrix"],
                family=values["family"],
                size_0=values["size_0"],
                size_1=values["size_1"],
                threshold=float(values.get("threshold_px", 2.0)),
                um_per_px_0=values.get("um_per_px_0"),
                um_per_px_1=values.get("um_per_px_1"),
                n_matches=values.get("matches"),
                n_inliers=values.get("inliers"),
                median_residual=values.get("median_residual_px"),
            )
        except TransformError as error:
            raise TransformError(f"{path}: {error}") from None
        except (TypeError, ValueError):
            raise TransformError(f"{path} is not a transform: one of its values has a wrong type.") from None


def estimate_transform(matches: Matches, family: str = AUTO, threshold: float = 2.0) -> Transform | None:
    """The transform that the matches agree on, or None: too few, chance, undetermined, impossible (`try_family` says).

    threshold: an inlier is at most so many pixels of image_1 off. "auto" takes the simplest family that explains the
    matches as well as a richer one: the lowest GRIC (Torr, Phil. Trans. 1998) among the families that hold,
    Σ min(e²/σ², 4) + k log(4 M), with k parameters, M matches, and the noise σ (per axis) from the median residual of
    the richest family, at least LEAST_NOISE. The same matches always give the same transform.
    """
    check_request(family, threshold)
    if family != AUTO:
        found = try_family(matches, family, threshold)
        return found if isinstance(found, Transform) else None
    tried = [try_family(matches, name, threshold) for name in FAMILIES]
    candidates = [found for found in tried if isinstance(found, Transform)]
    if not candidates:
        return None
    richest = candidates[-1]
    noise = max(richest.median_residual / np.sqrt(2 * np.log(2)), LEAST_NOISE)  # the median of Rayleigh's distribution
    return min(candidates, key=lambda found: _gric(found, noise))


def try_family(matches: Matches, family: str, threshold: float = 2.0) -> Transform | str:
    """The transform of one family, or the reason why there is none, as a sentence."""
    check_request(family, threshold)
    if family == AUTO:
        raise ParameterError(f"One family is tried at a time: {', '.join(FAMILIES)}.")
    points_0, points_1 = matches.points_0, matches.points_1
    nobody = np.zeros(len(matches), dtype=bool)
    matrix = fit_robust(family, points_0, points_1, threshold)
    errors = np.full(len(matches), np.inf) if matrix is None else residuals(points_0, points_1, matrix)
    inliers = nobody if matrix is None else errors <= threshold
    sizes = matches.size_0, matches.size_1
    reason = (
        too_few(family, inliers)
        or by_chance(family, points_0, points_1, inliers, threshold, *sizes)
        or undetermined(family, points_0, inliers, threshold)
        or impossible(matrix, *sizes)
    )
    if reason:
        return reason[0].upper() + reason[1:]
    scales = {"um_per_px_0": matches.um_per_px_0, "um_per_px_1": matches.um_per_px_1}
    return Transform(matrix, family, *sizes, inliers, errors, float(threshold), **scales)


def check_request(family: str, threshold: float) -> None:
    """ParameterError for an unknown family, or a threshold that is no number of pixels above 0."""
    if family not in (AUTO, *FAMILIES):
        raise ParameterError(f"family must be one of {', '.join((AUTO, *FAMILIES))}, got {family!r}.")
    if not (np.isfinite(threshold) and threshold > 0):
        raise ParameterError(f"threshold must be a number of pixels above 0, got {threshold!r}.")


def _gric(transform: Transform, noise: float) -> float:
    cost = np.minimum((transform.residuals / noise) ** 2, 4).sum()
    return float(cost + FAMILIES[transform.family].parameters * np.log(4 * len(transform.residuals)))


def _checked_matrix(matrix: Any, family: str) -> np.ndarray:
    """The matrix as a float64 copy with [2, 2] = 1, of the form that its family has, else TransformError."""
    if not isinstance(family, str) or family not in FAMILIES:
        raise TransformError(f"the family must be one of {', '.join(FAMILIES)}, got {family!r}.")
    try:
        matrix = np.array(matrix, dtype=np.float64)
    except (TypeError, ValueError):
        matrix = np.zeros(0)
    if matrix.shape != (3, 3) or not np.isfinite(matrix).all():
        raise TransformError("the matrix must be 3 × 3 finite numbers.")
    if matrix[2, 2] == 0 or np.linalg.matrix_rank(matrix) < 3:
        raise TransformError("the matrix must be invertible, with the last number not 0.")
    matrix = matrix / matrix[2, 2]
    (a, b), (c, d) = matrix[:2, :2]
    scale = max(np.hypot(a, c), 1e-12)
    forms = {
        "affine": not matrix[2, :2].any(),
        "similarity": max(abs(a - d), abs(b + c)) < 1e-6 * scale,
        "rigid": abs(scale - 1) < 1e-6,
        "translation": max(abs(a - 1), abs(b)) < 1e-6,
    }
    names = ("affine", "similarity", "rigid", "translation")  # each has its own form and those before it
    if family in names and not all(forms[name] for name in names[: names.index(family) + 1]):
        raise TransformError(f"the matrix is not that of {a_family(family)}.")
    return matrix


def _as_transform_error(check: Any, name: str, value: Any) -> Any:
    try:
        return check(name, value)
    except (ParameterError, TypeError) as error:
        raise TransformError(str(error)) from None
