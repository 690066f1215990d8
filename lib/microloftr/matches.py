"""`Matches`: pairs of points that show the same spot of the specimen, with the confidence of each."""

import csv
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from microloftr.errors import ParameterError
from microloftr.files import atomic_write

if TYPE_CHECKING:
    from microloftr.registration.transform import Transform

COLUMNS = ("x_0", "y_0", "x_1", "y_1", "confidence")
DIGITS = 9  # significant digits in the CSV: far below the accuracy of any match, and the same on every machine


@dataclass(frozen=True, eq=False)
class Matches:
    """M matches; point k of image_0 and point k of image_1 show the same spot.

    points_0, points_1 (M, 2) float64: x then y, in pixels of the images as read; the centre of the top-left pixel is
    (0, 0), x goes right, y down. confidence (M,) float64 in 0..1. size_0, size_1: (width, height) in pixels.
    um_per_px_0, um_per_px_1: micrometres per pixel, None where not known. coarse_points_0, coarse_points_1 (M, 2): the
    points before refinement, None where the matcher has no such step (coarse_points_0 None: the same as points_0).
    All arrays are read-only copies. Raises ParameterError where shapes or values do not fit.
    """

    points_0: np.ndarray = field(repr=False)
    points_1: np.ndarray = field(repr=False)
    confidence: np.ndarray = field(repr=False)
    size_0: tuple[int, int]
    size_1: tuple[int, int]
    um_per_px_0: float | None = None
    um_per_px_1: float | None = None
    coarse_points_1: np.ndarray | None = field(default=None, repr=False)
    coarse_points_0: np.ndarray | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        points_0 = _read_only("points_0", self.points_0, (None, 2))
        number = len(points_0)
        arrays = {"points_0": points_0}
        arrays["points_1"] = _read_only("points_1", self.points_1, (number, 2))
        arrays["confidence"] = _read_only("confidence", self.confidence, (number,))
        for name in ("coarse_points_0", "coarse_points_1"):
            if getattr(self, name) is not None:
                arrays[name] = _read_only(name, getattr(self, name), (number, 2))
        confidence = arrays["confidence"]
        if number and not (confidence.min() >= 0 and confidence.max() <= 1):
            raise ParameterError(f"confidence must lie in 0..1, got {confidence.min():.4g}..{confidence.max():.4g}.")
        for name, array in arrays.items():
            object.__setattr__(self, name, array)
        for name in ("size_0", "size_1"):
            object.__setattr__(self, name, check_size(name, getattr(self, name)))
        for name in ("um_per_px_0", "um_per_px_1"):
            object.__setattr__(self, name, check_pixel_size(name, getattr(self, name)))

    def __len__(self) -> int:
        return len(self.points_0)

    def take(self, index: np.ndarray | slice) -> "Matches":
        """The matches that a boolean mask (M,), an index array or a slice picks, in its order."""
        picked = {
            name: None if getattr(self, name) is None else getattr(self, name)[index]
            for name in ("points_0", "points_1", "confidence", "coarse_points_1", "coarse_points_0")
        }
        return Matches(
            **picked,
            size_0=self.size_0,
            size_1=self.size_1,
            um_per_px_0=self.um_per_px_0,
            um_per_px_1=self.um_per_px_1,
        )

    def top(self, number: int) -> "Matches":
        """The `number` most confident matches, best first; ties stay in order."""
        if number < 0:
            raise ParameterError(f"number must be 0 or more, got {number}.")
        return self.take(np.argsort(-self.confidence, kind="stable")[:number])

    def above(self, threshold: float) -> "Matches":
        """The matches with a confidence of at least `threshold`, in order."""
        return self.take(self.confidence >= threshold)

    def estimate(self, family: str = "auto", threshold: float = 2.0) -> "Transform | None":
        """The transform from image_0 to image_1, or None: see `microloftr.registration.estimate_transform`."""
        from microloftr.registration.transform import estimate_transform

        return estimate_transform(self, family, threshold)

    def to_csv(self, path: str | os.PathLike) -> None:
        """Write one row per match: x_0, y_0, x_1, y_1 in pixels, confidence, and x_0_um … where the size is known."""
        columns = list(COLUMNS)
        parts = [self.points_0, self.points_1, self.confidence[:, None]]
        for image, points, um_per_px in ((0, self.points_0, self.um_per_px_0), (1, self.points_1, self.um_per_px_1)):
            if um_per_px is not None:
                columns += [f"x_{image}_um", f"y_{image}_um"]
                parts.append(points * um_per_px)
        with atomic_write(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(columns)
            writer.writerows([f"{value:.{DIGITS}g}" for value in row] for row in np.concatenate(parts, axis=1))

    @classmethod
    def from_csv(
        cls,
        path: str | os.PathLike,
        size_0: tuple[int, int],
        size_1: tuple[int, int],
        um_per_px_0: float | None = None,
        um_per_px_1: float | None = None,
    ) -> "Matches":
        """Read what `to_csv` wrote; the sizes (width, height) of the images are not in the file.

        A pixel size that is not given is taken from the file's columns in µm, where it has them.
        """
        path = Path(path)
        try:
            with open(path, newline="", encoding="utf-8") as file:
                rows = list(csv.reader(file))
            header, values = rows[0], np.array(rows[1:], dtype=np.float64).reshape(len(rows) - 1, len(rows[0]))
        except FileNotFoundError:
            raise ParameterError(f"There is no file {path}.") from None
        except (OSError, UnicodeDecodeError, csv.Error, ValueError, IndexError):
            raise ParameterError(f"{path} is not a table of matches, a header and rows of numbers.") from None
        missing = [name for name in COLUMNS if name not in header]
        if missing:
            raise ParameterError(f"{path} has no column {', '.join(missing)}; {', '.join(COLUMNS)} are needed.")
        column = {name: values[:, header.index(name)] for name in header}
        return cls(
            np.stack([column["x_0"], column["y_0"]], axis=1),
            np.stack([column["x_1"], column["y_1"]], axis=1),
            column["confidence"],
            size_0,
            size_1,
            _pixel_size(column, 0) if um_per_px_0 is None else um_per_px_0,
            _pixel_size(column, 1) if um_per_px_1 is None else um_per_px_1,
        )


def check_size(name: str, size: Any) -> tuple[int, int]:
    """(width, height) as two positive integers, else ParameterError."""
    try:
        width, height = (int(side) for side in size)
        whole = (width, height) == tuple(size) and min(width, height) >= 1
    except (TypeError, ValueError):
        whole = False
    if not whole:
        raise ParameterError(f"{name} must be (width, height) in whole pixels, got {size!r}.")
    return width, height


def check_pixel_size(name: str, um_per_px: float | None) -> float | None:
    """Micrometres per pixel: None, or a finite number above 0, else ParameterError."""
    if um_per_px is None:
        return None
    number = isinstance(um_per_px, (int, float, np.number)) and not isinstance(um_per_px, bool)
    if not number or not np.isfinite(um_per_px) or um_per_px <= 0:
        raise ParameterError(f"{name} must be micrometres per pixel, above 0, or None, got {um_per_px!r}.")
    return float(um_per_px)


def _pixel_size(column: dict[str, np.ndarray], image: int) -> float | None:
    """Pixel size from the columns in px and µm: the ratio of their sums, to the digits that the file has."""
    names = [(f"{axis}_{image}_um", f"{axis}_{image}") for axis in "xy"]
    if not all(um in column for um, _ in names):
        return None
    pixels = sum(np.abs(column[px]).sum() for _, px in names)
    ratio = sum(np.abs(column[um]).sum() for um, _ in names) / pixels if pixels else 0.0
    return float(f"{ratio:.{DIGITS - 1}g}") if ratio > 0 else None


def _read_only(name: str, values: Any, shape: tuple[int | None, ...]) -> np.ndarray:
    """A read-only float64 copy of the shape asked for (None: any length), finite, else ParameterError."""
    try:
        array = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise ParameterError(f"{name} must be an array of numbers, got {type(values).__name__}.") from None
    if array.size == 0 and shape[0] in (None, 0):
        array = array.reshape(0, *shape[1:])
    if array.ndim != len(shape) or any(want not in (None, have) for want, have in zip(shape, array.shape, strict=True)):
        wanted = str(shape).replace("None", "M")
        raise ParameterError(f"{name} must have the shape {wanted}, got {array.shape}.")
    if not np.isfinite(array).all():
        raise ParameterError(f"{name} must be finite, but holds NaN or infinity.")
    array.setflags(write=False)
    return array
