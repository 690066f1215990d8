"""The changes of appearance that training pairs may show, each made to the same micrographs."""

from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from microloftr.data import appearance, changes
from microloftr.data.atlas import Atlas, sample
from microloftr.geometry import displacement_at, grid_points
from microloftr.views.figures import FONT, draw_image, new_figure

SIDE = 144
COLUMNS = 5


@dataclass(frozen=True)
class Place:
    """A crop of a micrograph: its name and the top-left corner, in pixels of the micrograph."""

    micrograph: str
    x: int
    y: int


SCANNED = Place("sem_diatom_frustule_wild_a_1", 330, 260)
STAINED = Place("brightfield_he_tumour_heads_a_1", 240, 240)
ELSEWHERE = Place("brightfield_he_tumour_heads_a_1", 500, 20)


def crop(atlas: Atlas, place: Place, plane: int = 0, displacement: Tensor | None = None) -> Tensor:
    """A crop (1, 1, SIDE, SIDE) at natural resolution, read where a displacement (1, 2, g, g) leads."""
    m = atlas.names.index(place.micrograph)
    points = grid_points(SIDE, SIDE, 1)[None]
    if displacement is not None:
        points = points + displacement_at(points, displacement, SIDE)
    tables = (torch.tensor([int(table[m, plane, 0])]) for table in (atlas.offset, atlas.height, atlas.width))
    points = points + torch.tensor([float(place.x), float(place.y)])
    return sample(atlas, *tables, points).view(1, 1, SIDE, SIDE).clamp(0, 1)


def examples(atlas: Atlas, seed: int = 0) -> dict[str, Tensor]:
    """Name → image (1, 1, SIDE, SIDE): the two crops as they are, and every change made to one of them."""
    generator = torch.Generator().manual_seed(seed)
    scanned, stained = crop(atlas, SCANNED), crop(atlas, STAINED)
    one, none = torch.ones(1), torch.zeros(1)
    u = torch.rand(1, 400, generator=generator)
    curve = torch.tensor([[0.5, 0.95, 0.3, 0.1, 0.75, 0.4, 0.05]])
    halves = torch.tensor([0.0, 0.0, 1.0, 1.0]).expand(1, 1, 4, 4)
    other_plane = appearance.tone_curve(crop(atlas, STAINED, 3), torch.tensor([[0.9, 0.8, 0.5, 0.2, 0.1, 0.4, 0.6]]))
    bend = 9 * (torch.rand(1, 2, 3, 3, generator=generator) - 0.5)
    bend = torch.nn.functional.interpolate(bend, (6, 6), mode="bicubic", align_corners=True)
    patches = changes.patches(u[:, :25].view(1, 1, 5, 5), u[:, :25].quantile(0.72)[None], (SIDE, SIDE))
    rows = (u[:, 30:66] > 0.85) * u[:, 66:102] * 0.35
    centres, radii = u[:, 110:122].view(1, 6, 2) * SIDE, 2 + 5 * u[:, 122:128]
    cover = changes.specks(centres, radii, torch.diag(torch.tensor([1.0, 1.7])).expand(1, 6, 2, 2), (SIDE, SIDE))
    return {
        "an electron micrograph": scanned,
        "out of focus": changes.defocus(scanned, 3.5 * one),
        "few photons": appearance.sensor_noise(scanned, 20 * one, none, generator).clamp(0, 1),
        "charging": changes.charging(scanned, rows, 0.8 * one).clamp(0, 1),
        "uneven light": changes.shading(scanned, 0.7 * one, torch.tensor([[0.35, -0.2]])).clamp(0, 1),
        "gain too high": changes.clipped(scanned, 0.2 * one, 0.6 * one),
        "dust": scanned + cover * (0.05 - scanned),
        "tones in any order": appearance.tone_curve(scanned, curve),
        "a stained section": stained,
        "another colour": crop(atlas, STAINED, 4),
        "outlines only": changes.edges(stained),
        "other tones in places": changes.mixed(stained, other_plane, halves),
        "bent": crop(atlas, STAINED, displacement=bend),
        "other content in places": torch.where(patches, crop(atlas, ELSEWHERE), stained),
        "nothing in places": torch.where(patches, changes.emptied(stained, 0.95 * one), stained),
    }


def draw_changes(images: dict[str, Tensor]) -> Figure:
    """Every image with its name under it."""
    rows = -(-len(images) // COLUMNS)
    figure, axes = new_figure(rows, COLUMNS, height=2.4 * rows)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, (name, image) in zip(axes.flat, images.items(), strict=False):
        grey = np.rint(255 * image[0, 0].numpy()).astype(np.uint8)
        draw_image(axis, np.repeat(grey[..., None], 3, axis=2))  # as they are, not stretched to their own range
        axis.text(0.5, -0.03, name, fontsize=FONT - 3, ha="center", va="top", transform=axis.transAxes)
    return figure
