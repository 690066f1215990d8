"""The shipped weights: small, half precision, and good enough for what the front page shows."""

import json
from importlib.resources import files

import numpy as np
import pytest
from safetensors import safe_open

from microloftr import Matcher, read_image
from microloftr.evaluation.metrics import corner_error
from microloftr.matching import MatcherOptions
from microloftr.model.weights import load_model, recipe_of, shipped

DEMO = files("microloftr") / "micrographs" / "demo"


@pytest.fixture(scope="module")
def matcher():
    return Matcher.from_pretrained("micro")


@pytest.fixture(scope="module")
def demo():
    return read_image(DEMO / "field_0.png"), read_image(DEMO / "field_1.png")


@pytest.fixture(scope="module")
def truth():
    return np.array(json.loads((DEMO / "truth.json").read_text(encoding="utf-8"))["homography"])


@pytest.fixture(scope="module")
def matches(matcher, demo):
    return matcher.match(*demo)


def test_they_are_half_precision_and_small():
    path = shipped("micro")
    with safe_open(path, "pt") as file:
        kinds = {file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
    assert kinds == {"F16"}
    assert path.stat().st_size < 10 * 2**20
    assert sum(p.numel() for p in load_model(path).parameters()) <= 5_000_000
    assert sum(p.stat().st_size for p in path.parent.glob("*.safetensors")) <= 12 * 2**20


def test_they_say_how_they_were_made():
    recipe = recipe_of(shipped("micro"))
    assert recipe["command"].startswith("python -m microloftr train")
    assert recipe["pairs"] > 10_000
    assert recipe["descent"]["init"] == "xfeat"
    assert shipped("micro").with_suffix(".md").is_file()


def test_the_demo_pair_is_aligned(matches, truth):
    transform = matches.estimate("auto")
    assert transform is not None
    assert corner_error(transform.matrix, truth, matches.size_0) < 2


def test_refinement_brings_the_points_closer(demo, truth):
    """Without the search, whose warp by a first guess leaves the coarse points little to be wrong by."""
    found = Matcher(load_model(shipped("micro")), MatcherOptions(search=False), "cpu").match(*demo)
    there = np.column_stack((found.points_0, np.ones(len(found)))) @ truth.T
    there = there[:, :2] / there[:, 2:]
    fine, coarse = (np.linalg.norm(p - there, axis=1) for p in (found.points_1, found.coarse_points_1))
    right = coarse < 8
    assert right.mean() > 0.7
    assert np.median(fine[right]) < 0.5 * np.median(coarse[right])


def test_an_image_turned_upside_down_is_aligned_too(matcher, demo, truth):
    turned = np.ascontiguousarray(np.rot90(demo[1].pixels, 2))
    height, width = turned.shape
    upside_down = np.array([[-1, 0, width - 1], [0, -1, height - 1], [0, 0, 1]]) @ truth
    transform = matcher.match(demo[0], turned).estimate("auto")
    assert transform is not None
    assert corner_error(transform.matrix, upside_down, (width, height)) < 3


def test_unrelated_micrographs_have_no_transform(matcher):
    """A search that warps by its own guess could fool itself into agreeing with it: it must not."""
    from microloftr.data.fixed import fixed_pairs

    pairs = fixed_pairs("easy", limit=6)
    for first, second in ((0, 3), (1, 5), (4, 2)):
        found = matcher.match(pairs.images_0[first], pairs.images_1[second])
        assert found.estimate("auto") is None, (pairs.micrograph[first], pairs.micrograph[second])


def test_without_the_search_the_options_are_heard(demo):
    plain = Matcher(load_model(shipped("micro")), MatcherOptions(search=False, threshold=0.25), "cpu").match(*demo)
    assert len(plain) > 10
    assert plain.confidence.min() > 0.25
