"""Pixel frames, coarse cells, homographies: moving points and images (torch only).

The frame, everywhere: the centre of the top-left pixel is (0, 0), x goes right, y down, points are (x, y).
A coarse cell (row i, column j) of stride s has its centre at the point (s·j, s·i): with odd kernels and padding k//2
that is where its receptive field is centred (tests/test_model.py measures it). A cell is nearest to the points within
half a stride of its centre; up to three pixels at the right and lower rim of an image have none.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def grid_size(size: int, stride: int) -> int:
    """Number of cells along a side of `size` pixels: ceil(size / stride), as odd strided convolutions give."""
    return -(-size // stride)


def cell_points(cells: Tensor, width: int, stride: int) -> Tensor:
    """Centres of flat cell indices (...) of a grid `width` cells wide, as points (..., 2) in pixels."""
    return torch.stack((cells % width, cells // width), dim=-1).to(torch.float32) * stride


def grid_points(height: int, width: int, stride: int, device: torch.device | str = "cpu") -> Tensor:
    """Centres (h·w, 2) of all cells of an h×w grid, row by row."""
    return cell_points(torch.arange(height * width, device=device), width, stride)


def nearest_cell(points: Tensor, height: int, width: int, stride: int, ties: str = "up") -> Tensor:
    """Flat index of the cell nearest to each point (..., 2), −1 where that cell is outside the h×w grid.

    A point half way between two cells goes to the right/lower one with ties="up" and to the left/upper one with
    ties="down". Going forward with "up" and back with "down" keeps every cell under a shift of exactly half a cell,
    where rounding half to even (the published form) keeps half of them (tests/test_supervision.py).
    """
    scaled = points / stride
    nearest = torch.floor(scaled + 0.5) if ties == "up" else torch.ceil(scaled - 0.5)
    column, row = nearest[..., 0], nearest[..., 1]
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    flat = row * width + column
    return torch.where(inside, flat, torch.full_like(flat, -1)).long()


def transform_points(points: Tensor, homography: Tensor) -> Tensor:
    """Points (..., K, 2) moved by homographies (..., 3, 3); a point on the line at infinity becomes inf."""
    homogeneous = F.pad(points.to(homography.dtype), (0, 1), value=1.0) @ homography.transpose(-1, -2)
    return homogeneous[..., :2] / homogeneous[..., 2:]


def warp_image(images: Tensor, homography: Tensor, height: int, width: int, mode: str = "bilinear") -> Tensor:
    """Images (B, C, H, W) resampled on an output grid of height×width; zeros outside.

    `homography` (B, 3, 3) maps points of the output to points of the input.
    """
    points = grid_points(height, width, 1, images.device).to(homography.dtype)
    points = transform_points(points.expand(homography.shape[0], -1, -1), homography)
    grid = normalised(points, images.shape[-2], images.shape[-1]).to(images.dtype)
    return F.grid_sample(images, grid.reshape(-1, height, width, 2), mode=mode, align_corners=True)


def normalised(points: Tensor, height: int, width: int) -> Tensor:
    """Points (..., 2) in pixels as coordinates of grid_sample with align_corners=True: −1 and 1 are pixel centres."""
    last = torch.tensor([max(width - 1, 1), max(height - 1, 1)], dtype=points.dtype, device=points.device)
    return points * 2 / last - 1


def displacement_at(points: Tensor, displacement: Tensor, size: int) -> Tensor:
    """Values (B, K, 2) at points (B, K, 2) of a coarse displacement field (B, 2, g, g) laid over a size×size image."""
    grid = normalised(points, size, size).to(displacement.dtype)[:, None]
    return F.grid_sample(displacement, grid, align_corners=True, padding_mode="border")[:, :, 0].transpose(1, 2)
