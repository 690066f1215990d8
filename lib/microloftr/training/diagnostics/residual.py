"""Whether pairs could be matched by the sensor's noise alone, which both crops of one micrograph would share.

A micrograph that is nothing but sensor noise has no specimen: whatever matches there is a fingerprint of the sensor.
The pairs' own noise is drawn anew above it (data/parameters.py), so that patches of the high-pass residual, the image
less its 3×3 mean, are found again by chance only: 9 of 25 × 25 places lie within a pixel, 0.014.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from microloftr.data.atlas import Atlas, build_atlas
from microloftr.data.micrographs import Micrograph
from microloftr.data.pairs import PairBatch, draw_parameters, render
from microloftr.geometry import warp_image
from microloftr.model.loftr import LoFTR
from microloftr.training.step import cell_accuracy
from microloftr.training.supervision import supervise

PATCH, AROUND = 16, 12  # half a patch, and how far around its place it is looked for, pixels
CHANCE = 9 / (2 * AROUND + 1) ** 2


@dataclass(frozen=True)
class Fingerprint:
    """Of n patches of the residual the share found again within a pixel; chance is `CHANCE`."""

    n: int
    found: float

    def holds(self, most: float = 0.1) -> bool:
        """Whether next to none is found again."""
        return self.n > 0 and self.found < most


def noise_atlas(seed: int = 0, side: int = 480, spread: float = 20.0) -> Atlas:
    """One micrograph of nothing but sensor noise: grey 128, standard deviation `spread` of 255."""
    pixels = np.random.default_rng(seed).normal(128, spread, (side, side)).clip(0, 255).astype(np.uint8)
    return build_atlas([Micrograph("noise", "train", "noise", "sem", pixels)])


def noise_pairs(level: str, seed: int = 2, pairs: int = 6, size: int = 160, renewed: bool = True) -> PairBatch:
    """Pairs of that micrograph, of a level or mixture; with `renewed` off, without their own noise on top.

    Local displacements are left out: places are compared by the homography.
    """
    atlas, indices = noise_atlas(), np.arange(pairs)
    parameters = draw_parameters(atlas, level, seed, indices, size)
    parameters = replace(parameters, displacement=0 * parameters.displacement)
    if not renewed:
        silent = np.full_like(parameters.photons, np.inf)
        parameters = replace(parameters, noise=0 * parameters.noise, photons=silent)
    return render(atlas, parameters, seed, indices, size)


def fingerprint(batch: PairBatch) -> Fingerprint:
    """Look for patches of the residual of B images_0 in that of images_1, brought back by the homography."""
    size = batch.images_0.shape[-1]
    homography = batch.homography.float()
    inside = warp_image(torch.ones_like(batch.images_1), homography, size, size) > 0.99
    back = warp_image(batch.images_1, homography, size, size)
    residual_0, residual_1 = (images - F.avg_pool2d(images, 3, 1, 1) for images in (batch.images_0, back))
    found = tried = 0
    for k in range(len(batch)):
        more = _patches_found(residual_0[k, 0], residual_1[k, 0], inside[k, 0])
        found, tried = found + more[0], tried + more[1]
    return Fingerprint(tried, found / max(tried, 1))


@torch.no_grad()
def matched_by_noise(model: LoFTR, batch: PairBatch) -> float:
    """Share of the true cells that `model` finds in pairs of noise; by chance it is 1 / L1."""
    truth = supervise(batch)
    scores = model.match_cells(model.encode(*model.pyramids(batch.images_0, batch.images_1)))
    return float(cell_accuracy(scores.log_confidence, truth))


def _patches_found(residual_0: Tensor, residual_1: Tensor, inside: Tensor) -> tuple[int, int]:
    """How many patches are found within a pixel of their place, and how many were looked for."""
    side, reach = 2 * PATCH + 1, PATCH + AROUND
    found = tried = 0
    for y in range(reach, inside.shape[0] - reach, 24):
        for x in range(reach, inside.shape[1] - reach, 24):
            if inside[y - reach : y + reach + 1, x - reach : x + reach + 1].all():
                patch = residual_0[y - PATCH : y + PATCH + 1, x - PATCH : x + PATCH + 1]
                around = residual_1[y - reach : y + reach + 1, x - reach : x + reach + 1]
                around = around.unfold(0, side, 1).unfold(1, side, 1)
                around = around - around.mean((-1, -2), keepdim=True)
                score = (around * (patch - patch.mean())).sum((-1, -2)) / around.norm(dim=(-1, -2))
                row, column = divmod(int(score.argmax()), 2 * AROUND + 1)
                found += abs(row - AROUND) <= 1 and abs(column - AROUND) <= 1
                tried += 1
    return found, tried
