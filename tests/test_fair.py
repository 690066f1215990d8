"""What RootSIFT is off by under a quarter turn, how much it keeps of flat images, and which records tell of it."""

import json

import numpy as np
import pytest

from microloftr.errors import ParameterError
from microloftr.evaluation.baselines import RootSIFT
from microloftr.evaluation.fair import fields, records_with, turned
from microloftr.matches import Matches
from tests.test_baselines import specimen


class Knowing:
    """Matches points to where a turn takes them, plus an offset."""

    def __init__(self, turns: int, offset: tuple[float, float]) -> None:
        self.turns, self.offset = turns, offset

    def match(self, image_0, image_1) -> Matches:
        height, width = image_0.shape
        image = np.arange(height * width, dtype=float).reshape(height, width)
        there = np.rot90(image, self.turns)
        points = np.array([[3, 5], [10, 2], [17, 11]])
        found = [np.argwhere(there == image[y, x])[0][::-1] for x, y in points]
        sizes = [image.shape[::-1] for image in (image_0, image_1)]
        return Matches(points.astype(float), np.array(found) + self.offset, np.ones(3), *sizes)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_the_truth_of_a_turn_is_exact(turns):
    image = specimen(24, 18)
    found = turned(Knowing(turns, (0.25, -0.5)), image, turns)
    assert len(found) == 3 and found.share == 1
    assert found.bias == pytest.approx([0.25, -0.5]) and found.median == pytest.approx(np.hypot(0.25, 0.5))
    assert len(turned(Knowing(turns, (4.0, 0.0)), image, turns)) == 0  # beyond 3 px nothing is right
    assert np.isnan(turned(Knowing(turns, (4.0, 0.0)), image, turns).median)


def test_the_options_of_rootsift_are_what_makes_it_fair():
    image = specimen(200, 180)
    default = RootSIFT(contrast_threshold=0.04, edge_threshold=10, precise_upscale=False)
    assert np.hypot(*turned(default, image, 2).bias) > 0.4 > 0.05 > np.hypot(*turned(RootSIFT(), image, 2).bias)
    flat = [len(turned(matcher, image, 2, contrast=0.1)) for matcher in (default, RootSIFT())]
    assert flat[1] > 5 * max(flat[0], 10)


def test_other_turns_are_refused():
    with pytest.raises(ParameterError, match="1, 2 or 3 quarters"):
        turned(RootSIFT(), specimen(40, 40), 4)


def test_fields_are_the_middles_of_micrographs():
    found = fields(3, 64)
    assert len(found) == 3 and all(pixels.shape == (64, 64) for pixels in found.values())
    assert all(0 <= pixels.min() < pixels.max() <= 1 for pixels in found.values())
    with pytest.raises(ParameterError, match="smaller than 5000 px"):
        fields(2, 5000)


def test_records_that_compare_matchers_are_found(tmp_path):
    for name, matchers in {
        "evaluate": {"micro": 1, "rootsift": 1},
        "bench": {"micro": 1, "kornia_loftr": 1},
        "evaluate_retrained": {"micro": 1, "micro_random": 1},
        "baselines_real": {"orb": 1, "ecc": 1},
    }.items():
        (tmp_path / f"{name}.json").write_text(json.dumps({"values": {"matchers": matchers}}))
    (tmp_path / "shapes.json").write_text('{"values": {"micro": 1}}')
    assert records_with("rootsift", tmp_path) == {"bench": False, "evaluate": True}
