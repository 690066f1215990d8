"""The part that two images share, cut out of both and shrunk to a side that is quick to work on."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from microloftr.guided import moved, shown_by
from microloftr.search import frame, shrunk

MARGIN = 24  # pixels of the shrunk parts around what is shared


@dataclass(frozen=True, eq=False)
class SharedPart:
    """Parts (H, W) of both images; to_0, to_1 (3, 3) take pixels as given to pixels of the parts."""

    pixels_0: NDArray
    pixels_1: NDArray
    to_0: NDArray[np.float64]
    to_1: NDArray[np.float64]


def shared_part(pixels_0: NDArray, pixels_1: NDArray, first: NDArray, side: int) -> SharedPart | None:
    """What image_1 shows of image_0 by a transform (3, 3), each part at most `side` pixels long; None for nothing."""
    shown = shown_by(pixels_0.shape, pixels_1.shape, first)
    rows, columns = (np.flatnonzero(shown.any(axis)) for axis in (1, 0))
    if not len(rows):
        return None
    box = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
    margin = math.ceil(MARGIN * max(1, (box[2:] - box[:2]).max() / side))
    box = _within(box + margin * np.array([-1, -1, 1, 1]), pixels_0.shape)
    corners = np.array([(x, y) for x in (box[0], box[2] - 1) for y in (box[1], box[3] - 1)], dtype=float)
    there = moved(corners, first)
    other = _within(np.array([*np.floor(there.min(0)), *np.ceil(there.max(0)) + 1]), pixels_1.shape)
    part_0, to_0 = _cut(pixels_0, box, side)
    part_1, to_1 = _cut(pixels_1, other, side)
    return SharedPart(part_0, part_1, to_0, to_1)


def _within(box: NDArray, shape: tuple[int, int]) -> NDArray:
    """A box (left, top, right, bottom), its ends excluded, as far as it lies within an image of this shape."""
    height, width = shape
    left, top = (int(np.clip(value, 0, most - 1)) for value, most in zip(box[:2], (width, height), strict=True))
    right, bottom = (int(np.clip(v, s + 1, m)) for v, s, m in zip(box[2:], (left, top), (width, height), strict=True))
    return np.array([left, top, right, bottom])


def _cut(pixels: NDArray, box: NDArray, side: int) -> tuple[NDArray, NDArray]:
    left, top, right, bottom = box
    part, scale = shrunk(np.ascontiguousarray(pixels[top:bottom, left:right]), side)
    return part, frame(scale) @ np.array([[1, 0, -left], [0, 1, -top], [0, 0, 1]])
