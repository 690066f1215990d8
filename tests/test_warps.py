"""The second crop can always be placed, whatever the warp; overlaps and ranges are what the level says."""

import numpy as np
import pytest

from microloftr.data.levels import LEVELS, MIXTURES
from microloftr.data.warps import MARGIN, WarpRange, draw_geometry, overlap_of

SIZE = 320
# Every level of every mixture whose geometry is its own: several mixtures differ in appearance alone.
EVERY = {(level.warp, level.zoom): (name, level) for name, mixture in MIXTURES.items() for _, level in mixture}


def corners(size: int) -> np.ndarray:
    end = size - 1
    return np.array([[0, 0, 1], [end, 0, 1], [end, end, 1], [0, end, 1]], dtype=float)


def move(points: np.ndarray, matrices: np.ndarray) -> np.ndarray:
    moved = points @ matrices.transpose(0, 2, 1)
    return moved[..., :2] / moved[..., 2:]


def draw(level, count=500, seed=0, size=SIZE, least=320, most=1280):
    rng = np.random.default_rng(seed)
    micrograph = rng.integers(least, most, (count, 2)).astype(float)
    return draw_geometry(rng.random((count, 28)), level.warp, size, micrograph, level.zoom), micrograph


def free(geometry, micrograph, size=SIZE) -> np.ndarray:
    """Least distance (B,) of any corner of both crops from the outermost pixels of the micrograph; negative outside."""
    moved = np.concatenate([move(corners(size), crop) for crop in (geometry.crop_0, geometry.crop_1)], axis=1)
    assert np.isfinite(moved).all()
    return np.minimum(moved, micrograph[:, None] - 1 - moved).min((1, 2))


def drawn(level, kind: str, count=130):
    """Geometries of a level: uniforms as in training, or all of them at the very ends of their ranges."""
    rng = np.random.default_rng(sum(map(ord, level.name)))
    u = rng.random((count, 28))
    if kind == "ends":
        u = np.where(u < 0.5, 0.0, 1 - 2.0**-53)
    micrograph = rng.integers(*((90, 300) if kind == "small" else (300, 1400)), (count, 2)).astype(float)
    return draw_geometry(u, level.warp, SIZE, micrograph, level.zoom), micrograph


@pytest.mark.parametrize("kind", ["drawn", "ends", "small"])
@pytest.mark.parametrize(("mixture", "level"), EVERY.values(), ids=[f"{m}-{level.name}" for m, level in EVERY.values()])
def test_both_crops_lie_inside_the_micrograph(mixture, level, kind):
    """130 or 60 warps of each: every corner keeps the margin, and the overlap is within the level's range.

    `small`: of micrographs smaller than the crops, which are then magnified; `ends`: of the corners of the ranges.
    """
    geometry, micrograph = drawn(level, kind, 130 if kind == "drawn" else 60)
    assert free(geometry, micrograph).min() > MARGIN - 1e-6
    least, most = level.warp.overlap
    reachable = np.minimum(1, (geometry.zoom_0 / geometry.zoom_1) ** 2)  # a crop at twice the scale shows a quarter
    assert geometry.overlap.max() <= most + 0.02
    assert (geometry.overlap >= np.minimum(least, 0.9 * reachable) - 0.03).all()


def test_the_check_sees_a_crop_that_is_placed_without_regard_to_the_other():
    """Crop 0 anywhere in the micrograph, crop 1 wherever the warp takes it: the check must not pass that."""
    geometry, micrograph = drawn(LEVELS["medium"], "drawn")
    rng = np.random.default_rng(0)
    half = SIZE / 2 / geometry.zoom_0[:, None]
    shift = np.tile(np.eye(3), (len(half), 1, 1))
    middle = move(np.array([[(SIZE - 1) / 2, (SIZE - 1) / 2, 1]]), geometry.crop_0)[:, 0]
    shift[:, :2, 2] = half + (micrograph - 1 - 2 * half) * rng.random(half.shape) - middle
    blind = type(geometry)(shift @ geometry.crop_0, shift @ geometry.crop_1, *[None] * 4)
    assert (free(blind, micrograph) < 0).mean() > 0.3


def test_even_wild_warps_can_be_placed():
    wild = WarpRange(180, (0.2, 5.0), (0.02, 1.0), shear=0.3, perspective=0.3)
    rng = np.random.default_rng(1)
    micrograph = rng.integers(90, 2000, (1000, 2)).astype(float)
    geometry = draw_geometry(rng.random((1000, 28)), wild, 144, micrograph, (0.1, 3.0))
    for crop in (geometry.crop_0, geometry.crop_1):
        moved = move(corners(144), crop)
        assert (moved >= 0).all()
        assert (moved <= micrograph[:, None] - 1).all()


@pytest.mark.parametrize(("mixture", "level"), EVERY.values(), ids=[f"{m}-{level.name}" for m, level in EVERY.values()])
def test_the_whole_of_each_range_is_used(mixture, level):
    geometry, _ = draw(level, 200)
    least, most = level.warp.overlap
    scale = geometry.zoom_1 / geometry.zoom_0
    assert scale.min() >= level.warp.scale[0] * 0.995
    assert scale.max() <= level.warp.scale[1] * 1.005
    assert np.ptp(geometry.overlap) > 0.8 * (min(most, 0.9) - least)  # the range is used, not its middle


def test_the_homography_is_the_way_through_the_micrograph():
    geometry, _ = draw(LEVELS["hard"], 50)
    points = np.array([[10.0, 20, 1], [200, 50, 1], [160, 300, 1]])
    there = move(points, geometry.crop_0)
    via = move(np.concatenate([move(points, geometry.homography), np.ones((50, 3, 1))], -1), geometry.crop_1)
    assert np.allclose(there, via, atol=1e-6)


def test_overlap_of_known_shifts():
    shifts = np.tile(np.eye(3), (3, 1, 1))
    shifts[:, 0, 2] = (0, 160, 320)
    assert np.allclose(overlap_of(shifts, 320), (1, 0.5, 0), atol=0.03)


def test_shifts_are_never_whole_pixels():
    geometry, _ = draw(LEVELS["easy"])
    fraction = np.abs(geometry.crop_0[:, :2, 2] - np.round(geometry.crop_0[:, :2, 2]))
    assert np.median(fraction) > 0.15
    assert (fraction.max(1) > 1e-6).all()
