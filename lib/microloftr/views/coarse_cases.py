"""Pairs made on purpose for the coarse matching: a small known warp, ties, and images that share nothing."""

import math

import numpy as np
import torch
from torch import Tensor

from microloftr.geometry import warp_image
from microloftr.images import Image
from microloftr.model.loftr import LoFTR
from microloftr.views.case import Case, as_batch, trace_case


def small_case(
    model: LoFTR, image: Image, corner: tuple[int, int], side: int, degrees: float, shift: tuple[float, float]
) -> Case:
    """A crop of side × side pixels at `corner` (x, y), and the same image seen turned by `degrees`, then shifted.

    Both crops come from the same pixels, so that image_1 shows more of them where image_0 ends.
    """
    angle = math.radians(degrees)
    cos, sin = math.cos(angle), math.sin(angle)
    homography = np.array([[cos, -sin, shift[0]], [sin, cos, shift[1]], [0, 0, 1]])
    x, y = corner
    whole = np.array([[1, 0, x], [0, 1, y], [0, 0, 1.0]])
    seen = warp_image(as_batch(image), torch.from_numpy(whole @ np.linalg.inv(homography))[None], side, side, "bicubic")
    crop = np.ascontiguousarray(image.pixels[y : y + side, x : x + side])
    turned = seen[0, 0].clamp(0, 1).numpy()
    return trace_case(
        model, Image(crop, None, "crop"), Image(turned, None, "turned"), homography, model.config.threshold
    )


def tie_cases(case: Case, count: int = 6) -> dict[str, tuple[Tensor, Tensor]]:
    """Coarse maps (1, C, 1, count) of the surest matched cells of a case, three times with a tie made on purpose.

    Constant: every cell of both images looks the same. Twice in image_1, twice in image_0: cell 3 becomes a copy of
    cell 1.
    """
    found, encoded = case.trace.coarse_matches, case.trace.encoded
    surest = found.confidence.argsort(descending=True, stable=True)[:count]
    pairs = (encoded.coarse_0, found.cells_0), (encoded.coarse_1, found.cells_1)
    one, other = (coarse.flatten(2)[:, :, cells[surest]][:, :, None] for coarse, cells in pairs)
    twice = torch.arange(count)
    twice[3] = 1
    return {
        "all cells alike": (one[..., :1].expand_as(one), other[..., :1].expand_as(other)),
        "one twice in image_1": (one, other[..., twice]),
        "one twice in image_0": (one[..., twice], other),
    }


def nothing_pairs(
    images_0: np.ndarray, images_1: np.ndarray, columns: int = 4, side: int = 160
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Pairs of pixels (side, side), float32 in 0..1, that share nothing, or a single column of pixels.

    `images_0`, `images_1` (N, H, W) uint8, W at least 2·side − 1: pairs of which each shows a specimen of its own. The
    first `columns` of images_0 are cut in two, and every image_0 is put beside the image_1 of the next pair.
    """
    top, left = (images_0.shape[1] - side) // 2, (images_0.shape[2] - side) // 2
    strips_0, strips_1 = (x[:, top : top + side].astype(np.float32) / 255 for x in (images_0, images_1))
    first, second = (np.ascontiguousarray(strips[:, :, left : left + side]) for strips in (strips_0, strips_1))
    grey = np.full((side, side), 0.5, np.float32)
    pairs = {"both blank": (grey, grey), "one blank": (first[0], grey)}
    for k, strip in enumerate(strips_0[:columns]):
        halves = strip[:, :side], strip[:, side - 1 : 2 * side - 1]
        pairs[f"one column {k + 1}"] = tuple(np.ascontiguousarray(half) for half in halves)
    count = len(first)
    return pairs | {f"unrelated {k + 1}": (first[k], second[(k + 1) % count]) for k in range(count)}
