"""kornia's local features that need no download: two detectors with its SIFT descriptor, matched by `match_smnn`.

kornia is optional (`pip install -e '.[peers]'`). Its frames have pixel centres at integers, as ours.
"""

import numpy as np
import torch

from microloftr.evaluation.baselines.common import needed
from microloftr.evaluation.baselines.features import NOTHING, FeatureMatcher, Mutual

FEATURES = 2048
RATIO = 0.9
PATCH = 41  # px, as in kornia's own SIFT


class KorniaFeatures(FeatureMatcher):
    """A kornia detector and descriptor; matches are mutual and pass the ratio test both ways (`match_smnn`).

    Confidence is 1 − the larger of the two ratios.
    """

    device = "cpu"

    def __init__(self, model: torch.nn.Module, name: str, ratio: float = RATIO) -> None:
        self.kornia, self.model, self.ratio = needed("kornia.feature", name), model.eval(), ratio
        self.options = f"kornia {needed('kornia', name).__version__}, {FEATURES} features, ratio {ratio:g}"

    def describe(self, pixels: np.ndarray) -> tuple[np.ndarray, torch.Tensor]:
        """Points (K, 2) and descriptors (K, 128) of a grey image (H, W) in 0..1; slots left empty are dropped."""
        if np.ptp(pixels) < 1e-6:
            return np.zeros((0, 2)), torch.zeros(0, 128)
        image = torch.from_numpy(np.ascontiguousarray(pixels, dtype=np.float32))[None, None]
        with torch.inference_mode():
            frames, responses, descriptors = self.model(image)
            filled = responses[0] > 0
            points = self.kornia.get_laf_center(frames)[0][filled]
            return points.double().numpy(), descriptors[0][filled]

    def mutual(self, descriptors_0: torch.Tensor, descriptors_1: torch.Tensor) -> Mutual:
        """kornia's `match_smnn`."""
        if min(len(descriptors_0), len(descriptors_1)) < 2:
            return NOTHING
        ratios, index = self.kornia.match_smnn(descriptors_0, descriptors_1, self.ratio)
        return *index.numpy().T, (1 - ratios[:, 0]).double().numpy().clip(0, 1)


class KorniaSIFT(KorniaFeatures):
    """kornia's `SIFTFeature`: difference-of-Gaussian extrema on each level of a pyramid by itself, RootSIFT patches."""

    def __init__(self, ratio: float = RATIO) -> None:
        super().__init__(needed("kornia.feature", "kornia_sift").SIFTFeature(FEATURES), "kornia_sift", ratio)


class KorniaHessian(KorniaFeatures):
    """kornia's `ScaleSpaceDetector`: extrema of the Hessian in place and scale to a fraction of a pixel, RootSIFT."""

    def __init__(self, ratio: float = RATIO) -> None:
        parts = needed("kornia.feature", "kornia_hessian")
        detector = parts.ScaleSpaceDetector(
            FEATURES, resp_module=parts.BlobHessian(), ori_module=parts.LAFOrienter(19), scale_space_response=False
        )
        descriptor = parts.LAFDescriptor(parts.SIFTDescriptor(PATCH, rootsift=True), PATCH)
        super().__init__(parts.LocalFeature(detector, descriptor), "kornia_hessian", ratio)
