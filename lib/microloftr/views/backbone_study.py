"""A backbone in use, measured: one batch against two passes, padding, and what its deepest levels are worth.

Notebook 02 shows it. What the maps themselves see and read is in `pyramid_study`.
"""

import copy
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields

import numpy as np
import torch
from torch import Tensor, nn

from microloftr.model.loftr import LoFTR
from microloftr.model.pyramid import Pyramid


def difference(batch: Pyramid, alone: Sequence[Pyramid]) -> float:
    """The largest difference of a batch's maps and those of its samples alone, as a share of the largest value."""
    shares = []
    for field in fields(Pyramid):
        whole, parts = getattr(batch, field.name), [getattr(one, field.name) for one in alone]
        if whole is not None:
            shares.append(float((whole - torch.cat(parts)).abs().max() / whole.abs().max()))
    return max(shares)


def in_training(backbone: nn.Module) -> nn.Module:
    """A copy in training mode; the running means of the original stay as they are."""
    return copy.deepcopy(backbone).train()


def padded(backbone: nn.Module, images: Tensor, height: int, width: int) -> Pyramid:
    """The pyramid of images (B, 1, H, W) put into black ones of height×width, cut back to the maps of H×W."""
    black = images.new_zeros(*images.shape[:2], height, width)
    black[..., : images.shape[-2], : images.shape[-1]] = images
    pyramid, parts = backbone(black), []
    for field, stride in (("half", 2), ("quarter", 4), ("eighth", 8)):
        rows, columns = (-(-side // stride) for side in images.shape[-2:])
        parts.append(getattr(pyramid, field)[..., :rows, :columns])
    return Pyramid(*parts)


def shortest(calls: Sequence[Callable[[], object]], repeats: int) -> list[float]:
    """The shortest seconds of each call on one thread, all in turn: what else the machine does falls on all alike."""
    times, threads = [], torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for call in list(calls) * repeats:
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
    finally:
        torch.set_num_threads(threads)
    return [min(times[number :: len(calls)]) for number in range(len(calls))]


@contextmanager
def muted(backbone: nn.Module, parts: Iterable[str]) -> Iterator[None]:
    """Inside, the named parts of a backbone put out zeros."""
    handles = [backbone.get_submodule(part).register_forward_hook(lambda *given: 0 * given[2]) for part in parts]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def cells_right(model: LoFTR, images_0: Tensor, images_1: Tensor, cells_1: Tensor) -> np.ndarray:
    """Share (B,) of the matchable cells of image_0 whose most confident partner is within one cell of the true one.

    cells_1 (B, L0): the true flat cell of image_1, −1 where there is none.
    """
    shares = []
    width = -(-images_1.shape[-1] // 8)
    with torch.inference_mode():
        for k in range(len(images_0)):
            encoded = model.encode(*model.pyramids(images_0[k : k + 1], images_1[k : k + 1]))
            best, true = model.match_cells(encoded).log_confidence[0].argmax(1), cells_1[k]
            off = torch.maximum((best % width - true % width).abs(), (best // width - true // width).abs())
            shares.append(float((off[true >= 0] <= 1).double().mean()))
    return np.array(shares)
