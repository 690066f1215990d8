"""kornia's LoFTR with a checkpoint of one's own: nothing is downloaded here."""

import os
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch

from microloftr.errors import WeightsError
from microloftr.evaluation.baselines.common import NO_RESIZE, made_matches, needed, no_matches
from microloftr.images import as_image
from microloftr.matches import Matches

NAME = "kornia_loftr"
SMALLEST = 32  # px; a side below it leaves no coarse cell inside the border that LoFTR removes


class KorniaLoFTR:
    """LoFTR (Sun et al., CVPR 2021) as kornia runs it, with the weights of a published checkpoint (.ckpt, 46 MB).

    They put pixel centres at ½; here ½ is taken off. Files whose name holds `indoor_ds_new` were trained with the
    right position encoding, all others with the published slip. Raises WeightsError where the file is no such thing.
    """

    resize = NO_RESIZE
    device = "cpu"

    def __init__(self, path: str | os.PathLike | None = None) -> None:
        if not path:
            raise WeightsError("The matcher kornia_loftr needs a checkpoint of LoFTR: name it, kornia_loftr:FILE.ckpt.")
        parts = needed("kornia.feature", NAME)
        fixed = "indoor_ds_new" in Path(path).name
        settings = dict(needed("kornia.feature.loftr.loftr", NAME).default_cfg)
        settings["coarse"] = {**settings["coarse"], "temp_bug_fix": fixed}
        self.model = parts.LoFTR(pretrained=None, config=settings).eval()
        self.options = f"kornia {needed('kornia', NAME).__version__}"
        try:
            contents = torch.load(path, map_location="cpu", weights_only=True)
            self.model.load_state_dict(contents.get("state_dict", contents))
        except FileNotFoundError:
            raise WeightsError(f"There is no checkpoint {path} for the matcher kornia_loftr.") from None
        except (OSError, RuntimeError, AttributeError, KeyError, UnpicklingError) as error:
            raise WeightsError(f"{path} is no checkpoint of LoFTR for kornia ({error.__class__.__name__}).") from None

    def match(self, image_0: Any, image_1: Any) -> Matches:
        image_0, image_1 = as_image(image_0), as_image(image_1)
        if min(*image_0.pixels.shape, *image_1.pixels.shape) < SMALLEST:
            return no_matches(image_0, image_1)
        images = (torch.from_numpy(np.ascontiguousarray(image.pixels))[None, None] for image in (image_0, image_1))
        with torch.inference_mode():
            found = self.model(dict(zip(("image0", "image1"), images, strict=True)))
        points_0, points_1 = (found[key].double().numpy() - 0.5 for key in ("keypoints0", "keypoints1"))
        return made_matches(points_0, points_1, found["confidence"].double().numpy().clip(0, 1), image_0, image_1)
