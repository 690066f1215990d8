"""How two crops of one micrograph lie to each other: levels of difficulty and the feasible region of a pair.

All in NumPy float64 on the CPU, vectorised over the pairs: the few numbers of a pair are the same whatever the batch or
the device. `Geometry` holds, for every pair, the maps from crop pixels to micrograph pixels.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
MARGIN = 2.0  # micrograph pixels that stay free around both crops, so that resampling has neighbours


@dataclass(frozen=True)
class WarpRange:
    """What a level draws from. Rotation in degrees to either side, scale and overlap as (least, most)."""

    rotation: float
    scale: tuple[float, float]
    overlap: tuple[float, float]
    rotation_half: float | None = None  # half of the pairs draw their rotation from this range instead
    shear: float = 0.02
    perspective: float = 0.03  # change of scale from the centre of the crop to its edge


@dataclass(frozen=True)
class Geometry:
    """Maps of B pairs: crop pixel → micrograph pixel for both crops (B, 3, 3), their homography, and the overlap."""

    crop_0: Array
    crop_1: Array
    homography: Array  # (B, 3, 3), points of crop 0 → points of crop 1
    overlap: Array  # (B,) share of crop 0 that crop 1 shows
    zoom_0: Array  # (B,) crop pixels per micrograph pixel
    zoom_1: Array


def relative_warp(u: Array, ranges: WarpRange, size: int) -> Array:
    """Linear and perspective part (B, 3, 3) of the homography, in coordinates centred on both crops.

    u (B, ≥ 7) uniform in [0, 1).
    """
    half = ranges.rotation if ranges.rotation_half is None else ranges.rotation_half
    limit = np.where(u[:, 0] < 0.5, ranges.rotation, half)
    angle = np.deg2rad(limit * (2 * u[:, 1] - 1))
    low, high = np.log(ranges.scale)
    scale = np.exp(low + (high - low) * u[:, 2])
    shear_x, shear_y = (ranges.shear * (2 * u[:, 3] - 1), ranges.shear * (2 * u[:, 4] - 1))
    warp = np.zeros((len(u), 3, 3))
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    rotation = np.stack((np.stack((cos, -sin), -1), np.stack((sin, cos), -1)), -2)
    shear = np.stack((np.stack((1 + shear_y, shear_x), -1), np.stack((shear_x, 1 - shear_y), -1)), -2)
    warp[:, :2, :2] = rotation @ shear
    warp[:, 2, :2] = ranges.perspective * (2 * u[:, 5:7] - 1) / size
    warp[:, 2, 2] = 1
    return warp


def overlap_of(homography: Array, size: int, samples: int = 24) -> Array:
    """Share (B,) of crop 0 that lies inside crop 1, on a regular grid of samples² points."""
    axis = (np.arange(samples) + 0.5) * size / samples - 0.5
    points = np.stack([*np.meshgrid(axis, axis), np.ones((samples, samples))], -1).reshape(-1, 3)
    moved = points @ homography.transpose(0, 2, 1)
    moved = moved[..., :2] / moved[..., 2:]
    return np.mean(((moved >= -0.5) & (moved <= size - 0.5)).all(-1), axis=1)


def displaced(warp: Array, shift: Array, size: int) -> Array:
    """Homography of crops whose centres are matched after moving crop 1 by `shift` (B, 2) pixels of crop 0."""
    centre = (size - 1) / 2
    return _translation(np.full_like(shift, centre)) @ warp @ _translation(-centre - shift)


def place_with_overlap(warp: Array, direction: Array, target: Array, size: int) -> tuple[Array, Array]:
    """Move crop 1 along `direction` (B, radians) until it shows `target` (B,) of crop 0.

    The overlap of two convex, centrally symmetric outlines falls along every ray from the centre, so bisection finds
    the place; where even the centred crop shows less (a strong magnification), it stays centred.
    Returns the homographies and the overlaps reached.
    """
    unit = np.stack((np.cos(direction), np.sin(direction)), -1)
    near, far = np.zeros(len(warp)), np.full(len(warp), 2.5 * size)
    for _ in range(18):
        middle = (near + far) / 2
        enough = overlap_of(displaced(warp, unit * middle[:, None], size), size) >= target
        near, far = np.where(enough, middle, near), np.where(enough, far, middle)
    homography = displaced(warp, unit * near[:, None], size)
    return homography, overlap_of(homography, size)


def feasible_region(homography: Array, base: Array, micrograph: Array, margin: float, size: int) -> tuple[Array, Array]:
    """Where the centre of crop 0 may lie so that both crops lie inside the micrograph.

    base (B, 2, 2): linear map crop pixel → micrograph pixel; micrograph (B, 2): width, height.
    Returns (lowest, highest) (B, 2) in micrograph pixels; the pair cannot be placed where highest < lowest.
    """
    outline = _outline(homography, size) @ base.transpose(0, 2, 1)
    return margin - outline.min(1), micrograph - 1 - margin - outline.max(1)


def draw_geometry(
    u: Array, ranges: WarpRange, size: int, micrograph: Array, zoom: tuple[float, float], content=None, tries: int = 4
) -> Geometry:
    """Geometry of B pairs from uniforms u (B, ≥ 12 + 2·tries); cannot fail, whatever the warp.

    micrograph (B, 2) width and height. The zoom (crop pixels per micrograph pixel) is drawn from `zoom`, below one
    where crop 1 is magnified, so that neither crop outresolves the micrograph, and raised to the least at which the
    feasible region is not empty. Of `tries` places in it, the one with the most `content(points (B, 2)) -> (B,)`
    in the middle of the overlap is taken.
    """
    warp = relative_warp(u[:, 0:7], ranges, size)
    least, most = ranges.overlap
    scale = np.sqrt(np.abs(np.linalg.det(warp[:, :2, :2])))
    reachable = overlap_of(displaced(warp, np.zeros((len(u), 2)), size), size)
    most = np.minimum(most, np.maximum(reachable, least))
    homography, overlap = place_with_overlap(warp, 2 * np.pi * u[:, 7], least + (most - least) * u[:, 8], size)

    wanted = (zoom[0] + (zoom[1] - zoom[0]) * u[:, 9]) / np.maximum(scale, 1.0)
    turn = _dihedral(np.floor(8 * u[:, 10]).astype(int))
    outline = _outline(homography, size) @ turn.transpose(0, 2, 1)
    needed = ((outline.max(1) - outline.min(1)) / (micrograph - 1 - 2 * MARGIN)).max(1) * 1.001
    zoom_0 = np.maximum(wanted, needed)
    base = turn / zoom_0[:, None, None]
    lowest, highest = feasible_region(homography, base, micrograph, MARGIN, size)

    centre = (size - 1) / 2
    middle = _outline_centre(homography, size) @ base.transpose(0, 2, 1)
    best_place, best_content = None, None
    for k in range(tries if content is not None else 1):
        place = lowest + (highest - lowest) * u[:, 12 + 2 * k : 14 + 2 * k]
        value = content(place + middle[:, 0]) if content is not None else np.zeros(len(u))
        if best_place is None:
            best_place, best_content = place, value
        else:
            better = value > best_content
            best_place = np.where(better[:, None], place, best_place)
            best_content = np.where(better, value, best_content)

    crop_0 = np.tile(np.eye(3), (len(u), 1, 1))
    crop_0[:, :2, :2] = base
    crop_0[:, :2, 2] = best_place
    crop_0 = crop_0 @ _translation(np.full((len(u), 2), -centre))
    crop_1 = crop_0 @ np.linalg.inv(homography)
    return Geometry(
        crop_0, crop_1 / crop_1[:, 2:, 2:], homography / homography[:, 2:, 2:], overlap, zoom_0, zoom_0 * scale
    )


def _outline(homography: Array, size: int) -> Array:
    """Corners (B, 8, 2) of both crops in pixels of crop 0, relative to its centre."""
    end = size - 1
    corners = np.array([[0, 0], [end, 0], [end, end], [0, end]], dtype=float)
    moved = np.concatenate([corners, np.ones((4, 1))], 1) @ np.linalg.inv(homography).transpose(0, 2, 1)
    moved = moved[..., :2] / moved[..., 2:]
    both = np.concatenate([np.broadcast_to(corners, moved.shape), moved], 1)
    return both - end / 2


def _outline_centre(homography: Array, size: int) -> Array:
    """A point (B, 1, 2) inside the overlap, relative to the centre of crop 0: half way between the two centres."""
    other = _outline(homography, size)[:, 4:].mean(1, keepdims=True)
    return other / 2


def _translation(shift: Array) -> Array:
    matrix = np.tile(np.eye(3), (len(shift), 1, 1))
    matrix[:, :2, 2] = shift
    return matrix


def _dihedral(k: NDArray[np.int_]) -> Array:
    """The eight turns and mirrored turns of a square, (B, 2, 2): a micrograph has no upright."""
    quarter = k % 4
    cos, sin = np.array([1, 0, -1, 0])[quarter], np.array([0, 1, 0, -1])[quarter]
    mirror = np.where(k < 4, 1, -1)
    return np.stack((np.stack((cos * mirror, -sin), -1), np.stack((sin * mirror, cos), -1)), -2).astype(float)
