"""How a pair comes about, in numbers: where its crops may lie, what its appearance goes through, which cells share one.

Notebook 06 shows them; `pairs_figures` draws them.
"""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from importlib.resources import as_file, files

import numpy as np
import torch
from torch import Tensor

from microloftr.data.atlas import Atlas
from microloftr.data.levels import LEVELS, MIXTURES, Level
from microloftr.data.pairs import PairBatch, draw_parameters, render
from microloftr.data.parameters import PairParameters, uniforms
from microloftr.data.warps import MARGIN, Geometry, draw_geometry
from microloftr.errors import ParameterError
from microloftr.geometry import nearest_cell
from microloftr.model.presets import COARSE_STRIDE

Box = np.ndarray  # (2, 2): lowest and highest (x, y) in pixels of the micrograph; empty where highest < lowest


def bundled() -> list[dict[str, str]]:
    """The rows of the bundled micrographs' manifest: file, split, specimen, modality and more."""
    with as_file(files("microloftr.micrographs")) as folder, open(folder / "manifest.csv", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@dataclass(frozen=True, eq=False)
class Regions:
    """Where the centre of the second crop may lie in a micrograph, for a given warp and zoom.

    alone: so that the second crop lies inside; both: so that the first does too, where it then is; blind: wherever it
    comes to lie when the first crop is put anywhere and the second where the warp takes it.
    """

    alone: Box
    both: Box
    blind: Box

    @property
    def failing(self) -> float:
        """Share of the blind region from which the second crop sticks out."""
        low, high = np.maximum(self.blind[0], self.alone[0]), np.minimum(self.blind[1], self.alone[1])
        room = self.blind[1] - self.blind[0]
        return float(1 - np.prod(np.maximum(high - low, 0)) / np.prod(room)) if (room > 0).all() else 1.0


def outlines(geometry: Geometry, size: int) -> np.ndarray:
    """Corners (B, 2, 4, 2) of both crops in pixels of the micrograph."""
    end = size - 1
    corners = np.array([[0, 0, 1], [end, 0, 1], [end, end, 1], [0, end, 1]], dtype=float)
    return np.stack([_moved(corners, crop) for crop in (geometry.crop_0, geometry.crop_1)], 1)


def sticks_out(geometry: Geometry, micrograph: np.ndarray, size: int) -> np.ndarray:
    """Which pairs (B,) have a corner of either crop outside their micrograph (B, 2)."""
    corners = outlines(geometry, size)
    return ((corners < 0) | (corners > micrograph[:, None, None] - 1)).any((1, 2, 3))


def regions(geometry: Geometry, index: int, micrograph: np.ndarray, size: int) -> Regions:
    """The regions of pair `index` in its micrograph (2,); the crops are shifted, never turned or scaled."""
    corners = outlines(geometry, size)[index]
    middle = np.array([[(size - 1) / 2, (size - 1) / 2, 1]])
    centres = [_moved(middle, crop[index : index + 1])[0, 0] for crop in (geometry.crop_0, geometry.crop_1)]

    def room(outline: np.ndarray, centre: np.ndarray) -> Box:
        reach = outline - centre
        return np.stack((MARGIN - reach.min(0), micrograph - 1 - MARGIN - reach.max(0)))

    return Regions(
        alone=room(corners[1], centres[1]),
        both=room(corners.reshape(-1, 2), centres[1]),
        blind=room(corners[0], centres[0]) + (centres[1] - centres[0]),
    )


@dataclass(frozen=True, eq=False)
class Placing:
    """Of warps of one level: how many were drawn, how many crops stick out, and how many would without the region.

    outside: with the feasible region, as pairs are made; blind (B,): chance that the second crop sticks out when the
    first is put anywhere and the zoom is not raised; raised (B,): whose zoom was raised for want of room.
    """

    outside: int
    blind: np.ndarray
    raised: np.ndarray


def place(level: Level, micrographs: np.ndarray, seed: int, count: int, size: int) -> Placing:
    """Draw `count` warps of a level, in turn in micrographs (N, 2) of such widths and heights."""
    u = uniforms(seed, np.arange(count))[:, :28]
    rooms = micrographs[np.arange(count) % len(micrographs)]
    geometry = draw_geometry(u, level.warp, size, rooms, level.zoom)
    least, most = level.zoom
    wanted = (least + (most - least) * u[:, 9]) / np.maximum(geometry.zoom_1 / geometry.zoom_0, 1)  # as drawn
    as_wanted = zoomed(geometry, wanted)
    blind = np.array([regions(as_wanted, k, rooms[k], size).failing for k in range(count)])
    return Placing(int(sticks_out(geometry, rooms, size).sum()), blind, geometry.zoom_0 > wanted * 1.0001)


def zoomed(geometry: Geometry, zoom_0: np.ndarray) -> Geometry:
    """The same pairs with crop 0 at another zoom (B,), about the micrograph's corner."""
    ratio = np.tile(np.eye(3), (len(zoom_0), 1, 1))
    ratio[:, 0, 0] = ratio[:, 1, 1] = geometry.zoom_0 / zoom_0
    scale = geometry.zoom_1 / geometry.zoom_0
    return replace(
        geometry, crop_0=ratio @ geometry.crop_0, crop_1=ratio @ geometry.crop_1, zoom_0=zoom_0, zoom_1=zoom_0 * scale
    )


def geometry_at(
    atlas: Atlas,
    level: str,
    seed: int,
    index: int,
    size: int,
    rotation: float | None = None,
    scale: float | None = None,
) -> tuple[Geometry, int]:
    """Where pair `index` of a level lies, with its rotation (degrees) and scale set; None leaves them as drawn.

    Returns the geometry of one pair and its micrograph's number. Raises ParameterError for a level or value that cannot
    be.
    """
    if level not in LEVELS:
        raise ParameterError(f"there is no level {level!r}; there are {', '.join(LEVELS)}")
    if (rotation is not None and abs(rotation) > 180) or (scale is not None and not 0.25 <= scale <= 4):
        raise ParameterError("the rotation must be −180 to 180 degrees and the scale 0.25 to 4")
    one, micrograph = LEVELS[level], index % len(atlas)
    u, warp = uniforms(seed, np.array([index]))[:, :28], one.warp
    if rotation is not None:
        warp = replace(warp, rotation=abs(rotation), rotation_half=None)
        u[:, 1] = float(rotation >= 0)
    if scale is not None:
        warp = replace(warp, scale=(scale, scale))
    which = np.array([micrograph])
    content = lambda points: atlas.content_at(which, points)  # noqa: E731
    return draw_geometry(u, warp, size, atlas.sizes[which], one.zoom, content, tries=8), micrograph


def pair_at(
    atlas: Atlas,
    level: str,
    seed: int,
    index: int,
    size: int,
    rotation: float | None = None,
    scale: float | None = None,
) -> PairBatch:
    """Pair `index` of a level as a batch of one, its rotation and scale set as in `geometry_at`."""
    geometry, _ = geometry_at(atlas, level, seed, index, size, rotation, scale)
    which = np.array([index])
    parameters = replace(
        draw_parameters(atlas, level, seed, which, size),
        crop=np.stack((geometry.crop_0, geometry.crop_1), 1),
        homography=geometry.homography,
        overlap=geometry.overlap,
        zoom=np.stack((geometry.zoom_0, geometry.zoom_1), 1),
    )
    return render(atlas, parameters, seed, which, size)


def together(batches: Sequence[PairBatch]) -> PairBatch:
    """Several batches of crops of one size as one; without the masks of replaced content, which fixed levels lack."""
    names = [field.name for field in fields(PairBatch) if field.name != "replaced"]
    return PairBatch(*(torch.cat([getattr(batch, name) for batch in batches]) for name in names))


def stages(atlas: Atlas, level: str, seed: int, index: int, size: int) -> dict[str, Tensor]:
    """Image_1 (1, 1, S, S) of a level's pair after each step from specimen to detector, named."""
    which = np.array([index])
    whole = draw_parameters(atlas, level, seed, which, size)
    bare = _without_appearance(whole)
    steps: dict[str, tuple[str, ...]] = {
        "cut out": (), "blur": ("blur",), "uneven light": ("light",), "gamma and tones": ("gamma", "curve"),
        "noise": ("photons", "noise"),
    }  # fmt: skip
    images = {}
    for name, given in steps.items():
        bare = replace(bare, **{field: getattr(whole, field) for field in given})
        images[name] = render(atlas, bare, seed, which, size).images_1
    return images


def sharing(points_1: Tensor, shape_1: tuple[int, int]) -> Tensor:
    """How many cells of image_0 fall on the same cell of image_1 as each (B, L0) does, itself included; 0: outside.

    points_1 (B, L0, 2): where the cells' centres truly lie, px; shape_1: the coarse grid of image_1 (h, w).
    """
    nearest = nearest_cell(points_1, *shape_1, COARSE_STRIDE)
    counts = torch.zeros(len(points_1), shape_1[0] * shape_1[1], dtype=torch.long)
    counts.scatter_add_(1, nearest.clamp(min=0), (nearest >= 0).long())
    return torch.where(nearest >= 0, counts.gather(1, nearest.clamp(min=0)), 0)


def ranges(mixtures: Iterable[str]) -> dict[str, dict[str, float]]:
    """The widest of what each mixture's levels draw from: rotation (degrees), scale and overlap, least and most."""
    values = {}
    for name in mixtures:
        warps = [level.warp for _, level in MIXTURES[name]]
        values[name] = {
            "rotation": max(warp.rotation for warp in warps),
            "scale_least": min(warp.scale[0] for warp in warps),
            "scale_most": max(warp.scale[1] for warp in warps),
            "overlap_least": min(warp.overlap[0] for warp in warps),
            "overlap_most": max(warp.overlap[1] for warp in warps),
        }
    return values


def _without_appearance(parameters: PairParameters) -> PairParameters:
    """The same crops with nothing done to what they show."""
    same = {name: np.ones_like(getattr(parameters, name)) for name in ("light", "gamma")}
    none = {name: 0 * getattr(parameters, name) for name in ("blur", "noise")}
    line = np.tile(np.linspace(0, 1, parameters.curve.shape[-1]), (*parameters.curve.shape[:-1], 1))
    return replace(parameters, **same, **none, curve=line, photons=np.full_like(parameters.photons, np.inf))


def _moved(points: np.ndarray, matrices: np.ndarray) -> np.ndarray:
    """Homogeneous points (K, 3) moved by matrices (B, 3, 3): (B, K, 2)."""
    moved = points @ matrices.transpose(0, 2, 1)
    return moved[..., :2] / moved[..., 2:]
