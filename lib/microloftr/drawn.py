"""Points drawn to a homography as far as their residuals are noise.

Noise of one place says nothing of the next; a deformation does. The share of the residuals that neighbouring blocks
have in common stays (Wiener's weight), as far as it is surely there.
"""

import numpy as np
from numpy.typing import NDArray

from microloftr.alignment import Points
from microloftr.guided import LEAST_POINTS, moved

FAR = 4.0  # pixels; what lies farther from the homography is no noise of it
NEIGHBOUR = 32  # pixels: windows of points so far from each other show different pixels
DOUBT = 1.0  # standard errors of the shared part that are taken off


def drawn_to(homography: NDArray, points_0: Points, points_1: Points) -> Points:
    """Points_1 (M, 2), moved as far towards where the homography puts points_0 as their residuals are noise.

    Points beyond FAR pixels are left alone.
    """
    there = moved(points_0, homography)
    rest = points_1 - there
    near = np.linalg.norm(rest, axis=1) < FAR
    if near.sum() < LEAST_POINTS:
        return points_1
    kept = _shared(points_0[near], rest[near])
    return np.where(near[:, None], there + kept * rest, points_1)


def _shared(points: Points, rest: NDArray) -> float:
    """Share, 0 … 1, of the variance of residuals (M, 2) that blocks of NEIGHBOUR pixels share with the next ones."""
    column, row = np.floor((points - points.min(0)) / NEIGHBOUR).astype(int).T
    shape = row.max() + 1, column.max() + 1
    count = np.zeros(shape)
    sums = np.zeros((2, *shape))
    np.add.at(count, (row, column), 1)
    for k in range(2):
        np.add.at(sums[k], (row, column), rest[:, k])
    mean = sums / np.maximum(count, 1)
    every, here, after = slice(None), slice(None, -1), slice(1, None)
    products, weights = [], []
    for one, other in (((every, after), (every, here)), ((after, every), (here, every))):
        weights.append(np.sqrt(count[one] * count[other]).ravel())
        products.append((mean[:, *one] * mean[:, *other]).sum(0).ravel())
    weight, product = np.concatenate(weights), np.concatenate(products)
    variance = float((rest**2).sum(1).mean())
    if not weight.sum() or not variance:
        return 1.0
    shared = float((weight * product).sum() / weight.sum())
    error = float(np.sqrt((weight**2 * (product - shared) ** 2).sum()) / weight.sum())
    return min(max((shared - DOUBT * error) / variance, 0.0), 1.0)
