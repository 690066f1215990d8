"""One thing changes at a time, and the record says where each matcher breaks."""

import numpy as np
import pytest
import torch

from microloftr.data.atlas import build_atlas
from microloftr.data.micrographs import Micrograph
from microloftr.errors import ParameterError
from microloftr.evaluation import breaking
from microloftr.evaluation.breaking import BASE, SAME, STEPS, WORDS, BreakingPairs, Step, step_pairs
from microloftr.evaluation.score import ESTIMATOR
from microloftr.evaluation.tables_baselines import breaking as breaking_table
from microloftr.results import read_result
from microloftr.views.baseline_figures import draw_baselines, draw_breaking, draw_fairness, styles_of


@pytest.fixture(scope="module")
def atlas():
    made = []
    for k in range(2):
        generator = torch.Generator().manual_seed(k)
        coarse = torch.rand(1, 1, 70, 75, generator=generator)
        fine = torch.nn.functional.interpolate(coarse, (560, 600), mode="bicubic").clamp(0, 1)[0, 0]
        made.append(Micrograph(f"m{k}", "validation", f"s{k}", "sem_bse", (fine * 255).numpy().astype(np.uint8)))
    return build_atlas(made)


def breaking_record() -> dict:
    right = {"noise": {"rootsift": [1.0, 0.5, 0.25], "phase_correlation": [1.0, 1.0, 0.75]},
             "contrast": {"rootsift": [1.0, 0.0], "phase_correlation": [0.0, 1.0]}}  # fmt: skip
    steps = {"noise": [0.0, 0.1, 0.4], "contrast": [1.0, -1.0]}
    breaks = {
        "noise": {"rootsift": 0.4, "phase_correlation": None},
        "contrast": {"rootsift": -1.0, "phase_correlation": 1.0},
    }
    factors = {
        name: {"words": WORDS[name], "steps": steps[name], "right": right[name], "breaks": breaks[name]}
        for name in steps
    }
    values = {**ESTIMATOR, "size": 256, "right_px": 3.0, "base": BASE, "micrographs": ["a", "b"], "factors": factors}
    values |= {"modalities": ["sem"], "matchers": {key: {"name": key} for key in ("rootsift", "phase_correlation")}}
    return {"command": "x", "commit": "0123abc", "seed": 0, "device": "cpu", "split": "validation", "values": values}


def angle(homography: np.ndarray) -> float:
    return float(np.degrees(np.arctan2(homography[1, 0], homography[0, 0]))) % 360


def test_each_step_changes_one_thing(atlas):
    base = step_pairs(atlas, Step("rotation", 0.0), [0, 1], 128)
    assert [pair.source for pair in base] == ["s0", "s1"] and base[0].image_0.shape == (128, 128)
    for pair in base:
        assert pair.homography[:2, :2] == pytest.approx(np.eye(2), abs=1e-9)
        assert pair.overlap == pytest.approx(BASE["overlap"], abs=0.05)
    turned = step_pairs(atlas, Step("rotation", 60.0), [0], 128)[0]
    assert angle(turned.homography) == pytest.approx(60) and turned.overlap == pytest.approx(0.7, abs=0.05)
    assert np.linalg.det(turned.homography[:2, :2]) == pytest.approx(1)
    shrunk = step_pairs(atlas, Step("shrunk", 0.5), [0], 128)[0]
    assert np.linalg.det(shrunk.homography[:2, :2]) == pytest.approx(0.25) and Step("shrunk", 0.5).state["scale"] == 0.5
    assert step_pairs(atlas, Step("overlap", 0.15), [0], 128)[0].overlap == pytest.approx(0.15, abs=0.05)
    spread = [pair.image_1.std() for pair in (base[0], *step_pairs(atlas, Step("contrast", 0.1), [0], 128))]
    assert spread[1] < 0.25 * spread[0]
    inverted = step_pairs(atlas, Step("contrast", -1.0), [0], 128)[0]
    assert np.corrcoef(inverted.image_1.ravel().astype(float), base[0].image_1.ravel())[0, 1] < -0.95
    noisy = step_pairs(atlas, Step("noise", 0.1), [0], 128)[0]
    difference = (noisy.image_1.astype(float) - base[0].image_1) / 255
    assert difference.std() == pytest.approx(0.1, rel=0.25) and np.array_equal(noisy.image_0, base[0].image_0)


def test_pairs_are_the_same_each_time_and_share_no_noise(atlas):
    first, again = (step_pairs(atlas, Step("rotation", 0.0), [1], 128)[0] for _ in range(2))
    assert np.array_equal(first.image_0, again.image_0) and np.array_equal(first.image_1, again.image_1)
    x, y = np.rint(first.homography[:2, 2]).astype(int)  # laid upon each other by whole pixels
    rows, columns = slice(max(0, -y), 128 - max(0, y)), slice(max(0, -x), 128 - max(0, x))
    part_0 = first.image_0[rows, columns].astype(float)
    part_1 = first.image_1[max(0, y) : 128 - max(0, -y), max(0, x) : 128 - max(0, -x)].astype(float)
    assert np.corrcoef(part_0.ravel(), part_1.ravel())[0, 1] > 0.9  # one specimen
    assert not np.array_equal(part_0, part_1)


def test_the_command_says_where_each_breaks(atlas, tmp_path, monkeypatch):
    monkeypatch.setattr(breaking, "split_atlas", lambda split: atlas)
    monkeypatch.setattr(breaking, "SIZE", 128)
    monkeypatch.setattr(step_pairs, "__defaults__", (128,))
    few = (Step("rotation", 0.0), Step("rotation", 120.0))
    monkeypatch.setattr(BreakingPairs.__init__, "__defaults__", ("validation", 2, few))
    arguments = ["--matchers", "rootsift,phase_correlation", "--micrographs", "2", "--runs", str(tmp_path / "runs")]
    assert breaking.main([*arguments, "--results", str(tmp_path)]) == 0
    record = read_result("breaking", tmp_path)
    part = record["values"]["factors"]["rotation"]
    assert list(record["values"]["factors"]) == ["rotation"] and part["steps"] == [0, 120]
    assert part["right"]["rootsift"] == [1, 1] and part["breaks"]["rootsift"] is None
    assert part["right"]["phase_correlation"] == [1, 0] and part["breaks"]["phase_correlation"] == 120
    assert record["values"]["micrographs"] == ["m0", "m1"]
    assert record["command"].endswith("breaking --micrographs 2 --matchers rootsift,phase_correlation")
    with pytest.raises(ParameterError, match="1 or more micrographs"):
        BreakingPairs(micrographs=0)


def test_the_table_and_the_figure_tell_the_record():
    record = breaking_record()
    lines = breaking_table(record).splitlines()
    assert lines[2:4] == [
        "| rootsift | 0.4 | −1 |",
        "| phase_correlation | never (75 % at worst) | 1 |",
    ]
    for said in ("OpenCV USAC_MAGSAC, 2 px", "4096 matches", "2 pairs (256 px", "Validation split", "0123abc"):
        assert said in lines[-1]
    axes = draw_breaking(record["values"]).axes
    drawn = {line.get_label(): line for line in axes[0].get_lines()}
    assert list(drawn["rootsift"].get_ydata()) == [1.0, 0.5, 0.25]  # true heights: markers are set aside in x alone
    first, second = (drawn[key].get_xdata() for key in ("rootsift", "phase_correlation"))
    assert (first < second).all() and (np.round(first) == np.round(second)).all()
    assert [tick.get_text() for tick in axes[1].get_xticklabels()] == ["1", "−1"]


def test_every_matcher_has_a_style_of_its_own():
    keys = ["micro", "rootsift", "orb", "phase_correlation", "ecc", "xfeat", "akaze"]
    styles = styles_of(keys)
    assert len({style["color"] for style in styles.values()}) == len(keys)
    assert styles["micro"]["color"] == styles_of(["ecc", "micro"])["micro"]["color"]


def test_all_baselines_are_drawn_best_first():
    def one(value):
        return {"auc_3": value, "auc_3_low": None, "auc_3_high": None}

    values = {"matchers": {"a": {"name": "A"}, "b": {"name": "B"}},
              "levels": {"easy": {"a": one(0.2), "b": one(0.9)}, "hard": {"a": one(0.1), "b": one(0.3)}}}  # fmt: skip
    axis = draw_baselines(values).axes[0]
    assert [tick.get_text() for tick in axis.get_yticklabels()] == ["B", "A"]
    shown = {line.get_label(): list(line.get_xdata()) for line in axis.get_lines()}
    assert shown["easy"] == [0.9, 0.2] and shown["hard"] == [0.3, 0.1]


def test_fairness_is_drawn_with_a_dot_per_micrograph():
    biases = {"default": np.array([[0.5, 0.5], [0.4, 0.5]]), "fair": np.zeros((2, 2))}
    counts = {"default": np.array([0, 10]), "fair": np.array([100, 200])}
    left, right = draw_fairness(biases, counts).axes
    assert left.get_lines()[0].get_xdata().tolist() == [0.5, 0.4]
    of_micrographs = [line.get_ydata().tolist() for line in right.get_lines() if line.get_marker() == "o"]
    assert of_micrographs == [[0, 100], [10, 200]] and right.get_yscale() == "symlog"  # none is drawn as none
    assert [tick.get_text() for tick in right.get_yticklabels()][:2] == ["0", "1"]


def test_steps_are_in_order_and_begin_with_what_is_easy():
    for factor, values in STEPS.items():
        assert len(values) >= 4 and (values[0] == BASE[SAME.get(factor, factor)] or factor == "overlap")
        changes = np.abs(np.diff([v for v in values if v >= 0]))
        assert (changes > 0).all()
