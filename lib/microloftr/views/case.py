"""One pair, traced once: the bundled demo pair with every stage's result, which the vault's figures show."""

import json
from dataclasses import dataclass
from importlib.resources import as_file, files
from typing import Any

import numpy as np
import torch
from torch import Tensor

from microloftr.data.pairs import PairBatch
from microloftr.geometry import cell_points, transform_points
from microloftr.images import Image, read_image
from microloftr.model.loftr import LoFTR, Trace
from microloftr.model.presets import COARSE_STRIDE


@dataclass(frozen=True, eq=False)
class Case:
    """Two images, the truth between them (homography (3, 3), points of image_0 to image_1), and a model's trace."""

    image_0: Image
    image_1: Image
    homography: np.ndarray
    model: LoFTR
    trace: Trace

    @property
    def batch(self) -> PairBatch:
        """The pair as a batch of one, for supervision."""
        zero = torch.zeros(1)
        homography = torch.from_numpy(self.homography)[None]
        return PairBatch(
            as_batch(self.image_0), as_batch(self.image_1), homography, torch.zeros(1, 2, 2, 2), zero, zero, zero
        )

    def true_points(self, points_0: np.ndarray) -> np.ndarray:
        """Points (K, 2) of image_0 in image_1."""
        return transform_points(torch.from_numpy(points_0).double(), torch.from_numpy(self.homography)).numpy()

    def centre_of_overlap(self) -> int:
        """The flat cell of image_0 in the middle of what image_1 shows: chosen by place, not by how well it does."""
        height, width = self.trace.encoded.coarse_0.shape[-2:]
        points = cell_points(torch.arange(height * width), width, COARSE_STRIDE).numpy().astype(float)
        moved = self.true_points(points)
        inside = ((moved >= 0) & (moved <= np.array(self.image_1.pixels.shape[::-1]) - 1)).all(1)
        if not inside.any():
            return height // 2 * width + width // 2
        middle = points[inside].mean(0)
        return int(np.where(inside, np.hypot(*(points - middle).T), np.inf).argmin())


def demo_case(model: LoFTR, threshold: float = 0.2) -> Case:
    """The bundled demo pair through `model`, at full size and as it is: no search, no second look."""
    with as_file(files("microloftr") / "micrographs" / "demo") as folder:
        image_0, image_1 = (read_image(folder / f"field_{k}.png") for k in (0, 1))
        truth = json.loads((folder / "truth.json").read_text(encoding="utf-8"))
    return trace_case(model, image_0, image_1, np.array(truth["homography"]), threshold)


def trace_case(model: LoFTR, image_0: Image, image_1: Image, homography: np.ndarray, threshold: float = 0.2) -> Case:
    """Two images of known truth through `model`."""
    with torch.inference_mode():
        trace = model.eval().trace(as_batch(image_0), as_batch(image_1), threshold)
    return Case(image_0, image_1, np.asarray(homography, np.float64), model, trace)


def as_batch(image: Image) -> Tensor:
    """The image as the model takes it: (1, 1, H, W)."""
    return torch.from_numpy(image.pixels)[None, None]


def shapes_of(case: Case) -> dict[str, list[int]]:
    """Name → shape of everything that the trace holds; what a preset leaves out is not there."""
    trace, encoded = case.trace, case.trace.encoded
    tensors: dict[str, Any] = {"image_0": as_batch(case.image_0), "image_1": as_batch(case.image_1)}
    for k, pyramid in enumerate((encoded.pyramid_0, encoded.pyramid_1)):
        tensors |= {f"half_{k}": pyramid.half, f"quarter_{k}": pyramid.quarter, f"eighth_{k}": pyramid.eighth}
    tensors |= {"coarse_0": encoded.coarse_0, "coarse_1": encoded.coarse_1}
    tensors |= {"fine_0": encoded.fine_0, "fine_1": encoded.fine_1}
    tensors |= {"log_confidence": trace.log_confidence, "matchability_0": trace.matchability_0}
    tensors |= {"matchability_1": trace.matchability_1, "cells_0": trace.coarse_matches.cells_0}
    tensors |= {"cells_1": trace.coarse_matches.cells_1, "confidence": trace.coarse_matches.confidence}
    if trace.refined is not None:
        tensors |= {"windows_0": trace.refined.windows_0, "windows_1": trace.refined.windows_1}
        tensors |= {"log_heat": trace.refined.log_heat, "offset": trace.refined.offset}
    tensors |= {"points_0": trace.matches.points_0, "points_1": trace.matches.points_1}
    return {name: list(tensor.shape) for name, tensor in tensors.items() if tensor is not None}


def parameters_of(model: LoFTR) -> dict[str, int]:
    """Number of parameters of each part, and `total`."""
    parts = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
    return {**parts, "total": sum(parts.values())}
