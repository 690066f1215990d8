"""`overlay`: image_1 laid over image_0 by a transform, to see at a glance whether it is right."""

import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage
from scipy.ndimage import map_coordinates

from microloftr.errors import ParameterError, TransformError
from microloftr.files import atomic_write
from microloftr.images import Image, as_image, resize
from microloftr.registration.families import move_points
from microloftr.registration.transform import Transform

MODES = ("colour", "checkerboard")
COLOUR_0 = np.array([1.0, 0.0, 1.0])  # magenta
COLOUR_1 = 1 - COLOUR_0  # green; where both are equally bright the sum is grey. Told apart with any colour vision
TINT_1 = np.array([0.78, 1.0, 0.78])  # of the squares of image_1 in the checkerboard
OUTSIDE = 0.7  # brightness of image_0 where it is alone
TILES = 8  # squares of the checkerboard along the longer side
BLOCK_ROWS = 256  # rows that are warped at a time, so that large images need little memory


@dataclass(frozen=True, eq=False)
class Overlay:
    """pixels (H, W, 3) uint8 in the frame of image_0; covered (H, W) bool: where image_1 is seen as well.

    inverted: image_1 was shown with black and white swapped, since its contrast runs against that of image_0.
    """

    pixels: np.ndarray = field(repr=False)
    covered: np.ndarray = field(repr=False)
    mode: str
    inverted: bool

    def save(self, path: str | os.PathLike) -> None:
        """Write a PNG; ParameterError for another suffix."""
        if Path(path).suffix.lower() != ".png":
            raise ParameterError(f"An overlay is written as PNG; {path} must end in .png.")
        with atomic_write(path) as temporary:
            PillowImage.fromarray(self.pixels).save(temporary, format="PNG")


def overlay(
    image_0: str | os.PathLike | np.ndarray | Image,
    image_1: str | os.PathLike | np.ndarray | Image,
    transform: Transform | np.ndarray | None,
    mode: str = "colour",
) -> Overlay:
    """image_0 and image_1, moved by the transform into the frame of image_0, in one picture.

    mode "colour": image_0 magenta, image_1 green, grey where they agree. mode "checkerboard": squares of
    image_0, grey, and image_1, greenish, in turn. Where image_1 does not reach, image_0 is seen alone, darker.
    Each image is stretched between its percentiles 1 and 99 within the part that both show; an image_1 whose contrast
    runs against image_0 is shown inverted. Raises ImageError for what is no image, TransformError for no transform or
    one that was made for images of another size.
    """
    if mode not in MODES:
        raise ParameterError(f"mode must be one of {', '.join(MODES)}, got {mode!r}.")
    if transform is None:
        raise TransformError("There is no transform to lay the images over each other: the two images do not match.")
    pixels_0, pixels_1 = as_image(image_0).pixels, as_image(image_1).pixels
    if isinstance(transform, Transform):
        for name, pixels, size in (("image_0", pixels_0, transform.size_0), ("image_1", pixels_1, transform.size_1)):
            if pixels.shape[::-1] != size:
                raise TransformError(f"The transform is for {name} of {size}, but it has {pixels.shape[::-1]}.")
        matrix = transform.matrix
    else:
        matrix = np.asarray(transform, dtype=np.float64)
        if matrix.shape != (3, 3) or not np.isfinite(matrix).all():
            raise TransformError("A transform is a Transform or a matrix of 3 × 3 finite numbers.")
    warped, covered = warp_back(pixels_1, matrix, pixels_0.shape)
    seen = covered if covered.mean() > 0.001 else np.ones_like(covered)
    shown_0, shown_1 = _stretch(pixels_0, seen), _stretch(warped, seen)
    inverted = bool(_correlation(shown_0[seen], shown_1[seen]) < -0.1)
    if inverted:
        shown_1 = 1 - shown_1
    alone, shown_1 = np.where(covered, 1.0, OUTSIDE), np.where(covered, shown_1, 0)
    if mode == "colour":
        picture = (alone * shown_0)[..., None] * COLOUR_0 + shown_1[..., None] * COLOUR_1
    else:
        side = max(pixels_0.shape) / TILES
        row, column = np.indices(pixels_0.shape)
        odd = (row // side + column // side) % 2 == 1
        grey = np.where(covered, np.where(odd, shown_1, shown_0), alone * shown_0)
        picture = grey[..., None] * np.where((odd & covered)[..., None], TINT_1, 1.0)
    return Overlay(np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8), covered, mode, inverted)


def warp_back(pixels_1: np.ndarray, matrix: np.ndarray, shape_0: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """image_1 (H1, W1) seen in the frame of image_0: float32 of shape_0 = (H0, W0), and where it is defined, bool.

    The pixel at p takes the value of image_1 at the point matrix @ p, bilinear, in float64 (OpenCV rounds the point to
    1/32 px). Where image_1 has finer pixels it is first shrunk with antialiasing.
    """
    height_1, width_1 = pixels_1.shape
    corners = np.array([[0.0, 0.0], [shape_0[1], 0], [0, shape_0[0]]])
    moved = move_points(corners, matrix)
    area = abs(np.linalg.det(moved[1:] - moved[0])) / (shape_0[0] * shape_0[1])
    shrink = np.sqrt(area) if np.isfinite(area) else 1.0
    scale_x = scale_y = 1.0
    if shrink > 1.5:
        small = tuple(max(1, round(side / shrink)) for side in pixels_1.shape)
        scale_y, scale_x = small[0] / height_1, small[1] / width_1
        pixels_1 = resize(pixels_1, small)
    warped, covered = np.zeros(shape_0, dtype=np.float32), np.zeros(shape_0, dtype=bool)
    for top in range(0, shape_0[0], BLOCK_ROWS):
        y, x = np.mgrid[top : min(top + BLOCK_ROWS, shape_0[0]), 0 : shape_0[1]]
        points = move_points(np.stack([x, y], axis=-1).reshape(-1, 2).astype(np.float64), matrix).reshape(*x.shape, 2)
        inside = ((points >= -0.5) & (points <= np.array([width_1, height_1]) - 0.5)).all(axis=-1)
        rows, columns = (points[..., 1] + 0.5) * scale_y - 0.5, (points[..., 0] + 0.5) * scale_x - 0.5
        block = map_coordinates(pixels_1, [rows[inside], columns[inside]], order=1, mode="nearest")
        warped[top : top + BLOCK_ROWS][inside], covered[top : top + BLOCK_ROWS] = block, inside
    return warped, covered


def _stretch(pixels: np.ndarray, seen: np.ndarray) -> np.ndarray:
    low, high = np.percentile(pixels[seen], (1, 99))
    return np.clip((pixels - low) / max(high - low, 1e-6), 0, 1)


def _correlation(values_0: np.ndarray, values_1: np.ndarray) -> float:
    values_0, values_1 = values_0 - values_0.mean(), values_1 - values_1.mean()
    size = np.sqrt((values_0**2).sum() * (values_1**2).sum())
    return float((values_0 * values_1).sum() / size) if size > 0 else 0.0
