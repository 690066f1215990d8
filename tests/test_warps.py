"""The second crop can always be placed, whatever the warp; overlaps and ranges are what the level says."""

import numpy as np
import pytest

from microloftr.data.levels import LEVELS, TRAINING
from microloftr.data.warps import WarpRange, draw_geometry, overlap_of

SIZE = 320
EVERY = [*LEVELS.values(), *(level for _, level in TRAINING)]


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


@pytest.mark.parametrize("level", EVERY, ids=lambda level: level.name)
def test_both_crops_lie_inside_the_micrograph(level):
    geometry, micrograph = draw(level)
    for crop in (geometry.crop_0, geometry.crop_1):
        moved = move(corners(SIZE), crop)
        assert np.isfinite(moved).all()
        assert (moved >= 0).all()
        assert (moved <= micrograph[:, None] - 1).all()


def test_even_wild_warps_can_be_placed():
    wild = WarpRange(180, (0.2, 5.0), (0.02, 1.0), shear=0.3, perspective=0.3)
    rng = np.random.default_rng(1)
    micrograph = rng.integers(90, 2000, (2000, 2)).astype(float)
    geometry = draw_geometry(rng.random((2000, 28)), wild, 144, micrograph, (0.1, 3.0))
    for crop in (geometry.crop_0, geometry.crop_1):
        moved = move(corners(144), crop)
        assert (moved >= 0).all()
        assert (moved <= micrograph[:, None] - 1).all()


@pytest.mark.parametrize("level", LEVELS.values(), ids=lambda level: level.name)
def test_overlap_and_scale_are_the_levels(level):
    geometry, _ = draw(level)
    least, most = level.warp.overlap
    scale = geometry.zoom_1 / geometry.zoom_0
    reachable = np.minimum(1, 1 / scale**2)  # a crop at twice the scale shows a quarter
    assert (geometry.overlap <= most + 0.02).all()
    assert (geometry.overlap >= np.minimum(least, 0.9 * reachable) - 0.03).all()
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
