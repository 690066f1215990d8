"""Windows of fine features around matched cells, and what a refinement says of them."""

from dataclasses import dataclass

import torch
from torch import Tensor

from microloftr.model.presets import COARSE_STRIDE, FINE_STRIDE

OUTSIDE = -1e4  # logit of places outside the image


@dataclass(frozen=True)
class Refined:
    """What refinement found for M matches."""

    offset: Tensor  # (M, 2) pixels from the centre of the cell of image_1
    log_heat: Tensor  # (M, W²) log probabilities over the window
    peak: Tensor  # (M, 2) the window's best place alone, pixels from the centre
    windows_0: Tensor  # (M, W², F) what is compared; (M, 1, F) where the window of image_0 is its centre alone
    windows_1: Tensor  # (M, W², F)


def gather_windows(fine: Tensor, batch_index: Tensor, centres: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Windows (M, side², F) of fine features around `centres` (M, 2) (x, y), and which places lie inside (M, side²)."""
    step = torch.arange(side, device=fine.device) - side // 2
    columns = (centres[:, 0, None, None] + step).expand(-1, side, side).flatten(1)
    rows = (centres[:, 1, None, None] + step[:, None]).expand(-1, side, side).flatten(1)
    height, width = fine.shape[-2:]
    inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    flat = rows.clamp(0, height - 1) * width + columns.clamp(0, width - 1) + batch_index[:, None] * height * width
    return fine.permute(0, 2, 3, 1).reshape(-1, fine.shape[1])[flat], inside


def fine_cells(cells: Tensor, width: int) -> Tensor:
    """Fine cells (M, 2), x then y, on which the centres of flat coarse cells lie."""
    ratio = COARSE_STRIDE // FINE_STRIDE
    return torch.stack((cells % width, cells // width), -1) * ratio


def window_places(window: int, like: Tensor) -> Tensor:
    """Places (W², 2) of a window, x and y in fine cells from its centre, row by row."""
    step = torch.arange(window, dtype=like.dtype, device=like.device) - window // 2
    y, x = torch.meshgrid(step, step, indexing="ij")
    return torch.stack((x, y), -1).flatten(0, 1)
