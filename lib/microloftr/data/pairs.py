"""Pairs: two crops of one micrograph related by a homography, made in batches on the device.

Crop, warp and appearance of pair i are drawn by `parameters.py`, keyed (seed, i). Only the pixel noise is keyed by seed
and batch.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from microloftr.data import appearance, applied
from microloftr.data.atlas import PYRAMID_LEVELS, Atlas, sample
from microloftr.data.parameters import PairParameters, draw_parameters
from microloftr.geometry import displacement_at, grid_points, transform_points

INVERSION_STEPS = 8


@dataclass(frozen=True)
class PairBatch:
    """B pairs of S×S crops and what relates them.

    images_0, images_1 (B, 1, S, S) float32 in 0..1; homography (B, 3, 3) float64, points of image_0 → image_1;
    displacement (B, 2, g, g) float32: the smooth local displacement left after the homography, so that a point p of
    image_0 lies at homography(p) − displacement(homography(p)) in image_1, 0 in the fixed pairs;
    index (B,) the pairs' numbers; micrograph (B,) index into the atlas; overlap (B,);
    replaced (B, 1, S, S) bool: where image_1 shows other content than the place of image_0; None for nowhere.
    """

    images_0: Tensor
    images_1: Tensor
    homography: Tensor
    displacement: Tensor
    index: Tensor
    micrograph: Tensor
    overlap: Tensor
    replaced: Tensor | None = None

    def __len__(self) -> int:
        return len(self.index)


def render(atlas: Atlas, parameters: PairParameters, seed: int, indices: np.ndarray, size: int) -> PairBatch:
    """The images of drawn parameters, on the atlas's device."""
    device = atlas.values.device
    p, changes = parameters, parameters.changes

    def to_device(values: np.ndarray, dtype: torch.dtype = torch.float32) -> Tensor:
        tensor = torch.from_numpy(np.ascontiguousarray(values)).to(dtype)
        if device.type == "cuda":  # from pinned memory nothing waits for the step before to end
            tensor = tensor.pin_memory()
        return tensor.to(device, non_blocking=True)

    displacement = to_device(p.displacement)
    pixels = grid_points(size, size, 1, device).expand(len(p.micrograph), -1, -1)
    generator = torch.Generator(device).manual_seed((seed * 1_000_003 + int(indices[0])) % (2**63))
    crops, replaced = [], None

    def read(pairs: np.ndarray, k: int, micrograph: np.ndarray, plane: np.ndarray, crop: np.ndarray) -> Tensor:
        """What crop k of some pairs shows, where its displacement leads, through `crop` of `micrograph`."""
        points = pixels[: len(pairs)]
        if k == 1 and p.displacement[pairs].any():
            points = points + displacement_at(points, displacement[to_device(pairs, torch.int64)], size)
        points = transform_points(points, to_device(crop))
        depth = np.clip(np.round(-np.log2(p.zoom[pairs, k])), 0, PYRAMID_LEVELS - 1).astype(int)
        points = (points + 0.5) / to_device(2.0**depth).view(-1, 1, 1) - 0.5
        rows = (micrograph, plane, depth)
        tables = (to_device(table[rows], torch.int64) for table in (atlas.offset, atlas.height, atlas.width))
        return sample(atlas, *tables, points).view(-1, 1, size, size).clamp(0, 1)

    every = np.arange(len(p.micrograph))
    for k in range(2):
        images = read(every, k, p.micrograph, p.plane[:, k], p.crop[:, k])
        if changes is not None:
            images, replaced = applied.specimen(images, k, changes, p, read, to_device)
        images = appearance.blur(images, to_device(p.blur[:, k]))
        if changes is not None:
            images = applied.optics(images, k, changes, to_device)
        images = appearance.uneven_light(images, to_device(p.light[:, k : k + 1]))
        images = appearance.gamma(images, to_device(p.gamma[:, k]))
        images = appearance.tone_curve(images, to_device(p.curve[:, k]))
        if changes is not None:
            images = applied.scan(images, k, changes, to_device)
        photons, noise = to_device(p.photons[:, k]), to_device(p.noise[:, k])
        images = appearance.sensor_noise(images, photons, noise, generator).clamp(0, 1)
        crops.append(images if changes is None else applied.detector(images, k, changes, to_device))
    return PairBatch(
        crops[0],
        crops[1],
        to_device(p.homography, torch.float64),
        displacement,
        to_device(indices, torch.int64),
        to_device(p.micrograph, torch.int64),
        to_device(p.overlap),
        replaced,
    )


def make_pairs(atlas: Atlas, mixture: str, seed: int, indices: np.ndarray, size: int) -> PairBatch:
    """Pairs `indices` of a seed as S×S crops, made on the atlas's device."""
    indices = np.asarray(indices, dtype=np.int64)
    return render(atlas, draw_parameters(atlas, mixture, seed, indices, size), seed, indices, size)


def true_points_1(points_0: Tensor, batch: PairBatch) -> Tensor:
    """Where points (B, K, 2) of image_0 lie in image_1: the homography, less the local displacement where they arrive.

    The displacement is given in image_1, so the place is found by going on from the last guess; every step brings it
    nearer by the field's slope, .5 at most, so that a field of 8 px is met within .01 px.
    """
    moved = transform_points(points_0.to(torch.float64), batch.homography)
    there = moved
    for _ in range(INVERSION_STEPS):
        there = moved - displacement_at(there.to(torch.float32), batch.displacement, batch.images_1.shape[-1])
    return there


def true_points_0(points_1: Tensor, batch: PairBatch) -> Tensor:
    """Where points (B, K, 2) of image_1 lie in image_0: back along the same way."""
    local = displacement_at(points_1.to(torch.float32), batch.displacement, batch.images_1.shape[-1])
    return transform_points(points_1.to(torch.float64) + local, torch.linalg.inv_ex(batch.homography).inverse)
