"""Where the changes of training pairs act on the way from specimen to detector; only the pairs that have them are
computed."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from microloftr.data import appearance, changes
from microloftr.data.drawn import Changes

if TYPE_CHECKING:
    from microloftr.data.parameters import PairParameters

ToDevice = Callable[..., Tensor]
Read = Callable[[np.ndarray, int, np.ndarray, np.ndarray, np.ndarray], Tensor]


def specimen(
    images: Tensor, k: int, drawn: Changes, parameters: "PairParameters", read: Read, to_device: ToDevice
) -> tuple[Tensor, Tensor | None]:
    """Crop k of the pairs with other structures and, in crop 1, other content and dust; where that is: (B, 1, S, S)."""
    size = images.shape[-2:]
    other = np.flatnonzero((drawn.structures > 0) & (drawn.side == k))
    if len(other):
        chosen = to_device(other, torch.int64)
        micrograph, plane = parameters.micrograph[other], drawn.plane[other]
        shown = read(other, k, micrograph, plane, parameters.crop[other, k])
        toned = appearance.tone_curve(shown, to_device(drawn.curve[other]))
        outlined = changes.edges(shown)
        kind = to_device(drawn.structures[other]).view(-1, 1, 1, 1)
        mixed = torch.where(kind == 1, outlined, toned)
        images[chosen] = changes.mixed(images[chosen], mixed, to_device(drawn.map[other])[:, None])
    if k == 0:
        return images, None
    replaced = torch.zeros_like(images, dtype=torch.bool)
    for kind in (1, 2):
        here = np.flatnonzero(drawn.content == kind)
        if not len(here):
            continue
        chosen = to_device(here, torch.int64)
        mask = changes.patches(to_device(drawn.levels[here])[:, None], to_device(drawn.threshold[here]), size)
        if kind == 1:
            content = read(here, k, drawn.micrograph[here], 0 * here, drawn.crop[here])
        else:
            content = changes.emptied(images[chosen], to_device(drawn.brightness[here]))
        images[chosen] = torch.where(mask, content, images[chosen])
        replaced[chosen] = mask
    dusty = np.flatnonzero(drawn.radii.any(1))
    if len(dusty):
        chosen = to_device(dusty, torch.int64)
        given = drawn.centres[dusty] * size[0], drawn.radii[dusty], drawn.stretch[dusty]
        cover = changes.specks(*map(to_device, given), size)
        images[chosen] = images[chosen] + cover * (to_device(drawn.soot[dusty]).view(-1, 1, 1, 1) - images[chosen])
        replaced[chosen] |= cover > 0.5
    return images, replaced


def optics(images: Tensor, k: int, drawn: Changes, to_device: ToDevice) -> Tensor:
    """Defocus and shading of crop k."""
    images = _where((drawn.disk > 0) & (drawn.side == k), images, changes.defocus, (drawn.disk,), to_device)
    lit = (drawn.vignette > 0) & (drawn.side == k)
    return _where(lit, images, changes.shading, (drawn.vignette, drawn.gradient), to_device)


def scan(images: Tensor, k: int, drawn: Changes, to_device: ToDevice) -> Tensor:
    """Charging of crop k."""
    charged = drawn.rows.any(1) & (drawn.side == k)
    return _where(charged, images, changes.charging, (drawn.rows, drawn.smear), to_device)


def detector(images: Tensor, k: int, drawn: Changes, to_device: ToDevice) -> Tensor:
    """Clipping of crop k."""
    full = (drawn.clip[:, 1] < 1) & (drawn.side == k)
    return _where(full, images, changes.clipped, (drawn.clip[:, 0], drawn.clip[:, 1]), to_device)


def _where(
    mask: np.ndarray, images: Tensor, change: Callable[..., Tensor], given: tuple[np.ndarray, ...], to_device: ToDevice
) -> Tensor:
    """Images (B, …) with the change made to those of the mask (B,)."""
    here = np.flatnonzero(mask)
    if len(here):
        chosen = to_device(here, torch.int64)
        images[chosen] = change(images[chosen], *(to_device(values[here]) for values in given))
    return images
