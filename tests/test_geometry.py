"""Frames: every half-pixel question is answered by moving an image by a known amount and looking."""

import math

import pytest
import torch

from microloftr.geometry import (
    cell_points,
    displacement_at,
    grid_points,
    grid_size,
    nearest_cell,
    transform_points,
    warp_image,
)


def shift(x: float, y: float) -> torch.Tensor:
    return torch.tensor([[[1, 0, x], [0, 1, y], [0, 0, 1]]], dtype=torch.float64)


def blob(size: int, x: float, y: float) -> torch.Tensor:
    points = grid_points(size, size, 1).double()
    return torch.exp(-((points - torch.tensor([x, y])) ** 2).sum(1) / 18).view(1, 1, size, size)


def centroid(image: torch.Tensor) -> torch.Tensor:
    points = grid_points(*image.shape[-2:], 1).double()
    weight = image.flatten().double()[:, None]
    return (points * weight).sum(0) / weight.sum()


def test_cells_and_points_are_each_others_inverse():
    height, width = grid_size(101, 8), grid_size(131, 8)
    cells = torch.arange(height * width)
    points = cell_points(cells, width, 8)
    assert points[width + 2].tolist() == [16, 8]  # row 1, column 2: x is 16, y is 8
    assert torch.equal(nearest_cell(points, height, width, 8), cells)
    assert torch.equal(nearest_cell(points + 3.9, height, width, 8), cells)


def test_points_outside_the_grid_have_no_cell():
    points = torch.tensor([[-4.1, 0], [0, -4.1], [20.1, 0], [0, 12.1], [19.9, 11.9]])
    assert nearest_cell(points, 2, 3, 8).tolist() == [-1, -1, -1, -1, 5]


@pytest.mark.parametrize(("ties", "expected"), [("up", 1), ("down", 0)])
def test_a_tie_goes_where_it_is_told(ties, expected):
    assert nearest_cell(torch.tensor([4.0, 0.0]), 1, 2, 8, ties).item() == expected


@pytest.mark.parametrize("size", [31, 64])
@pytest.mark.parametrize("move", [(0.37, -0.81), (3.5, 2.25)])
def test_warping_by_a_subpixel_shift_moves_a_blob_by_it(size, move):
    image = blob(size, size / 2 - 2.3, size / 2 + 1.4)
    warped = warp_image(image, shift(*move), size, size)  # output (x, y) shows input (x + mx, y + my)
    assert torch.allclose(centroid(image) - centroid(warped), torch.tensor(move, dtype=torch.float64), atol=0.02)


@pytest.mark.parametrize("turns", [1, 2])
def test_warping_by_quarter_turns_is_exact(turns):
    size = 33
    image = torch.rand(1, 1, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    angle, centre = math.pi / 2 * turns, (size - 1) / 2
    cos, sin = round(math.cos(angle)), round(math.sin(angle))
    turn = torch.tensor([[[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]], dtype=torch.float64)
    warped = warp_image(image, shift(centre, centre) @ turn @ shift(-centre, -centre), size, size)
    assert torch.allclose(warped, torch.rot90(image, turns, (2, 3)), atol=1e-9)


def test_points_move_as_images_do():
    homography = torch.tensor([[[0.9, -0.2, 5.3], [0.25, 1.05, -3.1], [1e-4, -2e-4, 1]]], dtype=torch.float64)
    warped = warp_image(blob(80, 41.3, 37.2), homography, 80, 80)
    there = transform_points(torch.tensor([[[41.3, 37.2]]], dtype=torch.float64), torch.linalg.inv(homography))
    assert torch.dist(centroid(warped), there[0, 0]) < 0.15  # the blob is not quite round any more
    back = transform_points(there, homography)
    assert torch.allclose(back, torch.tensor([[[41.3, 37.2]]], dtype=torch.float64))


def test_displacement_is_read_at_the_right_place():
    field = torch.zeros(1, 2, 3, 3)
    field[0, 0, 0, 2] = 2.0  # x displacement in the upper right corner
    points = torch.tensor([[[100.0, 0.0], [0.0, 0.0], [75.0, 0.0], [100.0, 50.0]]])
    assert torch.allclose(displacement_at(points, field, 101)[0, :, 0], torch.tensor([2.0, 0.0, 1.0, 0.0]), atol=1e-6)
