"""The few numbers that a pair is made from: where its crops lie, and how they look. NumPy, on the CPU.

They come from a counter-based generator keyed (seed, number of the pair), so they stay the same whatever the batch, the
device or the number of workers. `pairs.py` makes images of them.
"""

from dataclasses import dataclass, fields

import numpy as np
import torch

from microloftr.data import appearance
from microloftr.data.atlas import Atlas
from microloftr.data.drawn import KNOTS, MORE_UNIFORMS, Changes, changed_looks, draw_changes, shares
from microloftr.data.levels import LEVELS, MIXTURES, ChangeRange, Level
from microloftr.data.warps import draw_geometry
from microloftr.errors import ParameterError

UNIFORMS = 168
DISPLACEMENT_GRID = 6
TURNED = 72  # the column that says which crop is the harder one in training
RENOISE = (
    1.5  # times the micrograph's own noise: patches of what is left then match by chance only (tests/test_pairs.py)
)


@dataclass(frozen=True)
class PairParameters:
    """The few numbers that B pairs are made from (NumPy, CPU); *_0 and *_1 belong to the two crops."""

    micrograph: np.ndarray
    crop: np.ndarray  # (B, 2, 3, 3) crop pixel → micrograph pixel
    homography: np.ndarray
    overlap: np.ndarray
    zoom: np.ndarray  # (B, 2)
    plane: np.ndarray  # (B, 2)
    gamma: np.ndarray  # (B, 2)
    curve: np.ndarray  # (B, 2, KNOTS)
    blur: np.ndarray  # (B, 2)
    light: np.ndarray  # (B, 2, 3, 3)
    photons: np.ndarray  # (B, 2)
    noise: np.ndarray  # (B, 2)
    displacement: np.ndarray  # (B, 2, g, g)
    changes: Changes | None = None  # further ones, in training


def uniforms(seed: int, indices: np.ndarray, count: int = UNIFORMS, stream: int = 0) -> np.ndarray:
    """Uniform numbers (B, count) in [0, 1) of pairs `indices`, from Philox keyed by the seed and counted by the index.

    Streams are apart by another word of the counter.
    """
    made = (np.random.Philox(key=seed, counter=[0, 0, stream, int(i)]) for i in indices)
    return np.stack([np.random.Generator(bits).random(count) for bits in made])


def draw_parameters(atlas: Atlas, mixture: str, seed: int, indices: np.ndarray, size: int) -> PairParameters:
    """What pairs `indices` of a seed are made from. mixture: a level, or one of the mixtures for training."""
    if mixture not in MIXTURES:
        raise ParameterError(f"there is no mixture {mixture!r} of pairs; there are {', '.join(MIXTURES)}")
    indices = np.asarray(indices, dtype=np.int64)
    u = uniforms(seed, indices)
    share = np.cumsum([weight for weight, _ in MIXTURES[mixture]])
    level_of = np.minimum(np.searchsorted(share / share[-1], u[:, 95], side="right"), len(share) - 1)
    training = mixture not in LEVELS
    if training:
        weight = np.sqrt(atlas.sizes.prod(1))
        micrograph = np.searchsorted(np.cumsum(weight) / weight.sum(), u[:, 11], side="right").clip(max=len(atlas) - 1)
    else:  # every micrograph equally often
        micrograph = indices % len(atlas)
    levels = [level for _, level in MIXTURES[mixture]]
    drawn, anywhere = None, np.zeros(len(u), dtype=bool)
    if any(level.changes is not None for level in levels):
        v = uniforms(seed, indices, MORE_UNIFORMS, stream=1)
        share = shares([level.changes or ChangeRange() for level in levels], level_of)
        anywhere = v[:, 0] < share["anywhere"]
        drawn = v, share, np.where(u[:, TURNED] < 0.5, 0, 1)
    parts, order = [], []
    for k, level in enumerate(levels):
        chosen = np.flatnonzero(level_of == k)
        if len(chosen):
            parts.append(_draw_level(atlas, level, u[chosen], micrograph[chosen], size, training, anywhere[chosen]))
            order.append(chosen)
    back = np.argsort(np.concatenate(order))
    values = {
        field.name: np.concatenate([getattr(part, field.name) for part in parts])[back]
        for field in fields(PairParameters)
        if field.name != "changes"
    }
    if drawn is None:
        return PairParameters(**values)
    changed_looks(*drawn, values)
    changes = draw_changes(*drawn, atlas, values["micrograph"], values["crop"][:, 1], size)
    return PairParameters(**values, changes=changes)


def _draw_level(
    atlas: Atlas,
    level: Level,
    u: np.ndarray,
    micrograph: np.ndarray,
    size: int,
    training: bool,
    anywhere: np.ndarray,
) -> PairParameters:
    """Parameters of pairs of one level from their uniforms (B, 168): columns 0–27 geometry (11: the
    micrograph), 28–94 appearance, 95 the level, 96–167 the local displacement. Pairs `anywhere` (B,) are placed
    without regard to content."""
    geometry = draw_geometry(
        u[:, :28],
        level.warp,
        size,
        atlas.sizes[micrograph],
        level.zoom,
        content=lambda points: np.where(anywhere, 0.0, atlas.content_at(micrograph, points)),
        tries=5 if training else 8,
    )
    ranges, count = level.appearance, len(u)
    one = np.ones(count)

    planes = atlas.planes[micrograph]
    other = np.minimum((u[:, 28] * planes).astype(int), planes - 1) if ranges.other_projection else 0 * planes
    first = np.minimum((u[:, 29] * planes).astype(int), planes - 1) * (u[:, 30] < 0.3) * training
    low, high = np.log(ranges.gamma)
    gamma = np.stack((np.exp((u[:, 31] - 0.5) * 0.4 * training), np.exp(low + (high - low) * u[:, 32])), 1)

    line = np.linspace(0, 1, KNOTS)
    bent = torch.from_numpy(u[:, 33 : 33 + KNOTS])
    curve_1 = appearance.random_curves(bent, ranges.bent_tones).numpy()
    falling = appearance.random_inverted_curves(torch.from_numpy(u[:, 40 : 40 + KNOTS])).numpy()
    curve_1 = np.where((u[:, 47] < ranges.other_tones)[:, None], falling, curve_1)
    curve = np.stack((np.broadcast_to(line, curve_1.shape), curve_1), 1)

    # Both crops carry the micrograph's own noise: each is blurred by its own amount and re-noised above what is left.
    own = [np.maximum(RENOISE * atlas.noise[micrograph, plane], 0.004) for plane in (first, other)]
    low, high = ranges.blur
    blur = np.stack((0.5 + 0.3 * u[:, 48], np.maximum(0.5 + 0.3 * u[:, 49], low + (high - low) * u[:, 50])), 1)
    noise_1 = ranges.noise * (0.5 + 0.5 * u[:, 51] if training else one)
    noise = np.hypot(np.stack(own, 1), np.stack((0 * one, noise_1), 1))
    photons = np.full((count, 2), np.inf)
    if ranges.photons is not None:
        low, high = np.log(ranges.photons)
        photons[:, 1] = np.exp(low + (high - low) * u[:, 52])

    light = np.ones((count, 2, 9))
    light[:, 1] += ranges.light * (2 * u[:, 53:62] - 1)
    light[:, 0] += 0.1 * training * (2 * u[:, 62:71] - 1)
    displacement = ranges.elastic * np.sqrt(12) * (u[:, 96:168] - 0.5)

    looks = (np.stack((first, other), 1), gamma, curve, blur, light.reshape(count, 2, 3, 3), photons, noise)
    if training:  # either image may be the harder one
        turned = u[:, TURNED] < 0.5
        looks = tuple(np.where(turned.reshape(-1, *[1] * (x.ndim - 1)), x[:, ::-1], x) for x in looks)
    plane, gamma, curve, blur, light, photons, noise = looks
    return PairParameters(
        micrograph,
        np.stack((geometry.crop_0, geometry.crop_1), 1),
        geometry.homography,
        geometry.overlap,
        np.stack((geometry.zoom_0, geometry.zoom_1), 1),
        plane,
        gamma,
        curve,
        blur,
        light,
        photons,
        noise,
        displacement.reshape(count, 2, DISPLACEMENT_GRID, DISPLACEMENT_GRID),
    )
