"""kornia's `ImageRegistrator`: a homography by gradient descent on the difference of grey values, coarse to fine."""

from typing import Any

import numpy as np
import torch

from microloftr.evaluation.baselines.common import NO_RESIZE, correlation_under, matches_of, needed, no_matches
from microloftr.images import as_image
from microloftr.matches import Matches

NAME = "kornia_registrator"


class KorniaRegistrator:
    """kornia's defaults (Adam, L1, five levels of at most 100 steps), from the identity; images padded to one shape.

    kornia's transform takes coordinates in −1..1 of the image that is looked at to those of the one that is warped,
    −1 and 1 at the pixels' outer edges. The answer is a grid of points; their confidence is the correlation of the grey
    values. Light must be the same in both: it compares grey values as they are.
    """

    resize = NO_RESIZE
    device = "cpu"

    def __init__(self, steps: int = 100, levels: int = 5, rate: float = 1e-3) -> None:
        self.settings = {"num_iterations": steps, "pyramid_levels": levels, "lr": rate}
        self.create = needed("kornia.geometry.transform", NAME).ImageRegistrator
        self.options = f"kornia {needed('kornia', NAME).__version__} {self.settings}"

    def match(self, image_0: Any, image_1: Any) -> Matches:
        image_0, image_1 = as_image(image_0), as_image(image_1)
        if min(np.ptp(image_0.pixels), np.ptp(image_1.pixels)) < 1e-6:
            return no_matches(image_0, image_1)
        shape = np.maximum(image_0.pixels.shape, image_1.pixels.shape)
        padded = [
            np.pad(
                image.pixels, [(0, side - have) for side, have in zip(shape, image.pixels.shape, strict=True)], "edge"
            )
            for image in (image_0, image_1)
        ]
        looked_at, to_warp = (torch.from_numpy(np.ascontiguousarray(pixels))[None, None] for pixels in padded)
        levels = min(self.settings["pyramid_levels"], int(np.log2(shape.min() / 8)))  # the smallest keeps 8 px
        registrator = self.create("homography", **self.settings | {"pyramid_levels": max(levels, 1)})
        found = registrator.register(to_warp, looked_at).detach()[0].double().numpy()
        to_unit = np.array([[2 / shape[1], 0, 1 / shape[1] - 1], [0, 2 / shape[0], 1 / shape[0] - 1], [0, 0, 1]])
        matrix = np.linalg.inv(to_unit) @ found @ to_unit
        if not np.isfinite(matrix).all():
            return no_matches(image_0, image_1)
        sure = correlation_under(matrix, image_0.pixels, image_1.pixels)
        return matches_of(matrix, sure, image_0, image_1) if sure > 0 else no_matches(image_0, image_1)
