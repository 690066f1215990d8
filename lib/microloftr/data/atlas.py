"""Micrographs as one flat tensor on the device, so that a batch of crops is a few gathers.

Every micrograph lies there as grey planes (its luma; for colour also red, green, blue and the second principal
component, since another stain or filter sees another projection of colour), and every plane as a pyramid of halvings,
so that a crop which shrinks the micrograph does not alias.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from microloftr.data.micrographs import Micrograph

PYRAMID_LEVELS = 3
LUMA = np.array([0.299, 0.587, 0.114])
CONTENT_STRIDE = 16


@dataclass(frozen=True)
class Atlas:
    """N micrographs. `offset`, `height`, `width` are indexed (micrograph, plane, pyramid level)."""

    values: Tensor  # flat uint8, on the device
    offset: np.ndarray  # (N, P, V) int64
    height: np.ndarray
    width: np.ndarray
    planes: np.ndarray  # (N,) number of planes
    noise: np.ndarray  # (N, P) standard deviation of the sensor noise of each plane, grey values in 0..1
    content: tuple[np.ndarray, ...]  # N maps of local contrast, one value per 16×16 pixels
    names: tuple[str, ...]
    specimens: tuple[str, ...]
    modalities: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    def __deepcopy__(self, memo: dict) -> "Atlas":
        return self  # nothing in it ever changes; a copied training module shares it

    @property
    def sizes(self) -> np.ndarray:
        """(N, 2) width and height in pixels."""
        return np.stack((self.width[:, 0, 0], self.height[:, 0, 0]), -1).astype(float)

    def content_at(self, micrograph: np.ndarray, points: np.ndarray) -> np.ndarray:
        """Local contrast (B,) of micrographs (B,) at points (B, 2) in their pixels."""
        cells = np.round(points / CONTENT_STRIDE - 0.5).astype(int)
        values = np.empty(len(points))
        for k, (m, (x, y)) in enumerate(zip(micrograph, cells, strict=True)):
            chart = self.content[m]
            values[k] = chart[min(max(y, 0), chart.shape[0] - 1), min(max(x, 0), chart.shape[1] - 1)]
        return values


def build_atlas(micrographs: Sequence["Micrograph"], device: torch.device | str = "cpu") -> Atlas:
    """Lay micrographs out on the device."""
    from microloftr.data.micrographs import estimate_noise  # here, for a packed atlas is read without image readers

    chunks: list[np.ndarray] = []
    tables: list[list[list[tuple[int, int, int]]]] = []
    noise, content, total = [], [], 0
    for micrograph in micrographs:
        rows = []
        planes = _planes(micrograph.pixels)
        for plane in planes:
            row = []
            for image in _halvings(plane):
                row.append((total, *image.shape))
                chunks.append(image.ravel())
                total += image.size
            rows.append(row)
        tables.append(rows)
        noise.append([estimate_noise(plane) for plane in planes])
        content.append(_content(planes[0]))
    most = max(len(rows) for rows in tables)
    table = np.array([rows + [rows[0]] * (most - len(rows)) for rows in tables], dtype=np.int64)
    return Atlas(
        values=torch.from_numpy(np.concatenate(chunks)).to(device),
        offset=table[..., 0],
        height=table[..., 1],
        width=table[..., 2],
        planes=np.array([len(rows) for rows in tables]),
        noise=np.array([row + row[:1] * (most - len(row)) for row in noise]),
        content=tuple(content),
        names=tuple(m.name for m in micrographs),
        specimens=tuple(m.specimen for m in micrographs),
        modalities=tuple(m.modality for m in micrographs),
    )


def sample(atlas: Atlas, offset: Tensor, height: Tensor, width: Tensor, points: Tensor) -> Tensor:
    """Grey values 0..1 (B, K) at points (B, K, 2) of the planes that start at `offset` (B,), by Catmull–Rom."""
    x, y = points[..., 0], points[..., 1]
    x_0, y_0 = x.floor(), y.floor()
    weights_x, weights_y = _catmull_rom(x - x_0), _catmull_rom(y - y_0)
    x_0, y_0 = x_0.long(), y_0.long()
    last_x, last_y = (width - 1).view(-1, 1), (height - 1).view(-1, 1)
    columns = [(x_0 + k - 1).clamp(min=0).minimum(last_x) for k in range(4)]
    result = torch.zeros_like(x)
    for k in range(4):
        row = (y_0 + k - 1).clamp(min=0).minimum(last_y) * width.view(-1, 1) + offset.view(-1, 1)
        line = sum(weights_x[n] * atlas.values[row + columns[n]] for n in range(4))
        result = result + weights_y[k] * line
    return result / 255


def _catmull_rom(t: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return (
        ((-0.5 * t + 1) * t - 0.5) * t,
        (1.5 * t - 2.5) * t * t + 1,
        ((-1.5 * t + 2) * t + 0.5) * t,
        (0.5 * t - 0.5) * t * t,
    )


def _planes(pixels: np.ndarray) -> list[np.ndarray]:
    """Grey planes (H, W) uint8; the first is the luma."""
    if pixels.ndim == 2:
        return [pixels]
    planes = [np.round(pixels @ LUMA).astype(np.uint8), *(np.ascontiguousarray(pixels[..., c]) for c in range(3))]
    flat = pixels.reshape(-1, 3).astype(np.float64)
    flat -= flat.mean(0)
    variance, axes = np.linalg.eigh(flat.T @ flat / len(flat))
    if variance[1] > 0.01 * variance[2]:
        axis = axes[:, 1] * np.sign(axes[np.abs(axes[:, 1]).argmax(), 1])
        second = (flat @ axis).reshape(pixels.shape[:2])
        low, high = np.percentile(second, (0.5, 99.5))
        planes.append(np.clip((second - low) / max(high - low, 1e-6) * 255, 0, 255).round().astype(np.uint8))
    return planes


def _halvings(plane: np.ndarray) -> list[np.ndarray]:
    """The plane and its halvings by 2×2 means: pixel i of level v is centred on (i + ½)·2^v − ½."""
    levels = [plane]
    for _ in range(PYRAMID_LEVELS - 1):
        height, width = levels[-1].shape
        even = levels[-1][: height // 2 * 2, : width // 2 * 2].astype(np.uint16)
        total = even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]
        levels.append(((total + 2) // 4).astype(np.uint8))
    return levels


def _content(plane: np.ndarray, side: int = 96) -> np.ndarray:
    """Standard deviation of the grey values within about side×side pixels, every 16 pixels."""
    height, width = (n // CONTENT_STRIDE for n in plane.shape)
    blocks = plane[: height * CONTENT_STRIDE, : width * CONTENT_STRIDE].astype(np.float64) / 255
    blocks = blocks.reshape(height, CONTENT_STRIDE, width, CONTENT_STRIDE)
    half = side // CONTENT_STRIDE // 2
    mean, square = (_box_mean(values, half) for values in (blocks.mean((1, 3)), (blocks**2).mean((1, 3))))
    return np.sqrt(np.maximum(square - mean**2, 0))


def _box_mean(values: np.ndarray, half: int) -> np.ndarray:
    """Mean over (2·half + 1)² places around each, over those that exist, by running sums."""
    for axis in (0, 1):
        count = values.shape[axis]
        sums = np.concatenate((np.zeros_like(values.take([0], axis)), values.cumsum(axis)), axis)
        first, last = np.maximum(np.arange(count) - half, 0), np.minimum(np.arange(count) + half + 1, count)
        lengths = (last - first).reshape((-1, 1) if axis == 0 else (1, -1))
        values = (sums.take(last, axis) - sums.take(first, axis)) / lengths
    return values
