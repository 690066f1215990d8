"""The numbers of the changes of training pairs (changes.py): drawn from a second stream of the pair's generator.

The stream is the one of parameters.py at another counter word, so that drawing it leaves every older number as it was.
"""

from dataclasses import dataclass, fields

import numpy as np

from microloftr.data.atlas import Atlas
from microloftr.data.levels import ChangeRange

MORE_UNIFORMS = 176
KNOTS = 7
SECTION_KNOTS = 3  # a section is bent over half a crop, not within a cell
SPECKS = 6
ROWS = 36  # bands of a charging image
BEAM = ("sem", "unknown", "texture")  # modalities that may charge


@dataclass(frozen=True)
class Changes:
    """What B pairs are changed by, one value per pair; nothing happens where the value is the one said."""

    side: np.ndarray  # (B,) the crop, 0 or 1, that shows the changes of imaging
    disk: np.ndarray  # (B,) radius of defocus in pixels; 0
    structures: np.ndarray  # (B,) 1: outlines, 2: another plane and tones; 0
    map: np.ndarray  # (B, 4, 4) where the other structures show
    plane: np.ndarray  # (B,) of the other structures
    curve: np.ndarray  # (B, KNOTS) and their tones
    rows: np.ndarray  # (B, ROWS) bands of charging; 0
    smear: np.ndarray  # (B,)
    vignette: np.ndarray  # (B,); 0
    gradient: np.ndarray  # (B, 2); 0
    centres: np.ndarray  # (B, SPECKS, 2) of dust, shares of the crop's side
    radii: np.ndarray  # (B, SPECKS) pixels; 0
    stretch: np.ndarray  # (B, SPECKS, 2, 2)
    soot: np.ndarray  # (B,) grey value of dust
    clip: np.ndarray  # (B, 2) grey values that become 0 and 1; (0, 1)
    content: np.ndarray  # (B,) 1: patches of another place, 2: of nothing; 0
    levels: np.ndarray  # (B, 5, 5) the patches' map
    threshold: np.ndarray  # (B,)
    micrograph: np.ndarray  # (B,) where another place lies
    crop: np.ndarray  # (B, 3, 3) its map from crop pixels to micrograph pixels
    brightness: np.ndarray  # (B,) of nothing


def shares(ranges: list[ChangeRange], level_of: np.ndarray) -> dict[str, np.ndarray]:
    """Every share of the levels' changes, (B,) for the levels (B,) of pairs."""
    return {
        field.name: np.array([getattr(one, field.name) for one in ranges])[level_of] for field in fields(ChangeRange)
    }


def changed_looks(v: np.ndarray, share: dict[str, np.ndarray], side: np.ndarray, looks: dict[str, np.ndarray]) -> None:
    """Change curve, photons, blur (B, 2, …) and displacement (B, 2, g, g) of `looks` in place."""
    pairs = np.arange(len(v))
    here = v[:, 1] < share["focus"]  # the disk replaces the Gaussian but for what hides the micrograph's own noise
    looks["blur"][pairs[here], side[here]] = np.minimum(looks["blur"][pairs[here], side[here]], 0.8)
    here = v[:, 3] < share["dim"]
    few = np.exp(np.log(12) + np.log(150 / 12) * v[here, 4])
    looks["photons"][pairs[here], side[here]] = np.minimum(looks["photons"][pairs[here], side[here]], few)
    here = v[:, 5] < share["tones"]
    looks["curve"][pairs[here], side[here]] = _any_curves(v[here, 6 : 6 + KNOTS])
    here = v[:, 116] < share["section"]
    bend = (v[here, 117 : 117 + 2 * SECTION_KNOTS**2] - 0.5).reshape(-1, 2, SECTION_KNOTS, SECTION_KNOTS)
    weights = _bezier(looks["displacement"].shape[-1])
    bend = np.einsum("yj,bcjk,xk->bcyx", weights, bend, weights)
    looks["displacement"][here] += (4 + 12 * v[here, 135]).reshape(-1, 1, 1, 1) * bend


def draw_changes(
    v: np.ndarray,
    share: dict[str, np.ndarray],
    side: np.ndarray,
    atlas: Atlas,
    micrograph: np.ndarray,
    crop_1: np.ndarray,
    size: int,
) -> Changes:
    """The changes of pairs of `micrograph` (B,) whose second crop lies at crop_1 (B, 3, 3), from v (B, 176)."""
    count = len(v)

    def where(column: int, name: str, values: np.ndarray, otherwise: float = 0.0) -> np.ndarray:
        chosen = (v[:, column] < share[name]).reshape(-1, *[1] * (values.ndim - 1))
        return np.where(chosen, values, otherwise)

    planes = atlas.planes[micrograph]
    beam = np.array([any(word in modality for word in BEAM) for modality in atlas.modalities])[micrograph]
    bands = np.where(v[:, 40:76] > 0.85, (v[:, 40:76] - 0.85) / 0.15, 0) - 0.3 * (v[:, 40:76] < 0.05)
    angle, ratio = np.pi * v[:, 100:106], 1 + 1.5 * v[:, 106:112]
    across = np.stack((np.cos(angle), np.sin(angle)), -1)
    turned = np.eye(2) + (ratio - 1)[..., None, None] * across[..., :, None] * across[..., None, :]
    specks = v[:, 82:100].reshape(count, SPECKS, 3)
    coverage = 0.06 + 0.3 * v[:, 163]
    content, other, crop = _other_place(v, where(136, "replaced", np.where(v[:, 137] < 0.7, 1.0, 2.0)), atlas,
                                        micrograph, crop_1, size)  # fmt: skip
    return Changes(
        side=side,
        disk=where(1, "focus", 1.2 + 3.6 * v[:, 2] ** 1.5),
        structures=where(13, "structures", np.where(v[:, 14] < 0.4, 1.0, 2.0)).astype(int),
        map=(2.5 * (v[:, 15:31] - 0.4)).clip(0, 1).reshape(count, 4, 4),
        plane=np.minimum((v[:, 31] * planes).astype(int), planes - 1),
        curve=_any_curves(v[:, 32 : 32 + KNOTS]),
        rows=where(39, "charging", (0.1 + 0.25 * v[:, 168:169]) * bands) * beam[:, None],
        smear=0.2 + 0.8 * v[:, 76],
        vignette=where(77, "shading", 0.2 + 0.6 * v[:, 78]),
        gradient=where(77, "shading", 0.9 * (v[:, 79:81] - 0.5)),
        centres=specks[..., :2],
        radii=where(81, "dust", (specks[..., 2] > 0.4) * (1 + 12 * (specks[..., 2] - 0.4).clip(0) ** 1.5)),
        stretch=turned,
        soot=np.where(v[:, 112] < 0.75, 0.15 * v[:, 112], 1.0),
        clip=np.stack(
            (where(113, "clipping", 0.3 * v[:, 114]), where(113, "clipping", 0.45 + 0.4 * v[:, 115], 1.0)), 1
        ),
        content=content,
        levels=v[:, 138:163].reshape(count, 5, 5),
        threshold=np.take_along_axis(np.sort(v[:, 138:163], 1), (25 * (1 - coverage)).astype(int)[:, None], 1)[:, 0],
        micrograph=other,
        crop=crop,
        brightness=np.where(v[:, 167] < 0.5, v[:, 167] * 0.4, 1 - (v[:, 167] - 0.5) * 0.4),
    )


def _other_place(v, content, atlas, micrograph, crop_1, size):
    """Another place for the patches of `content` 1: of the same micrograph where that is large, else of another one."""
    linear = crop_1[:, :2, :2] / crop_1[:, 2:, 2:]
    half = np.abs(linear).sum(2) * size / 2
    centre = np.concatenate((crop_1 @ np.array([(size - 1) / 2, (size - 1) / 2, 1]),), 0)
    centre = centre[:, :2] / centre[:, 2:]
    room = atlas.sizes[micrograph] - 2 * half
    far = (0.3 * room).min(1) > half.mean(1) / 3
    step = 1 + (v[:, 164] * max(len(atlas) - 1, 1)).astype(int)
    other = np.where(far & (v[:, 137] < 0.4), micrograph, (micrograph + step) % len(atlas))
    content = np.where((content == 1) & (other == micrograph) & ~far, 2, content)
    room = np.maximum(atlas.sizes[other] - 2 * half, 1)
    start = np.where((other == micrograph)[:, None], (centre - half) / room, 0)
    place = half + room * ((start + 0.3 + 0.4 * v[:, 165:167]) % 1)
    crop = np.tile(np.eye(3), (len(v), 1, 1))
    crop[:, :2, :2] = linear
    crop[:, :2, 2] = place - (linear @ np.full((2, 1), (size - 1) / 2))[..., 0]
    return content.astype(int), other, crop


def _any_curves(u: np.ndarray) -> np.ndarray:
    """Tone curves (B, K) without any order between grey values, over the whole range."""
    low, high = u.min(1, keepdims=True), u.max(1, keepdims=True)
    return 0.04 + 0.92 * (u - low) / np.maximum(high - low, 1e-3)


def _bezier(count: int) -> np.ndarray:
    """Weights (count, 3) of three control points along a smooth curve."""
    t = np.linspace(0, 1, count)
    return np.stack(((1 - t) ** 2, 2 * t * (1 - t), t**2), 1)
