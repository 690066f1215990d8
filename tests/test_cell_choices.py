"""Cells to refine in training: what each rule chooses, that only the fine stage learns; cells that share one."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from microloftr.data.atlas import build_atlas
from microloftr.data.micrographs import Micrograph
from microloftr.data.pairs import make_pairs
from microloftr.errors import ParameterError
from microloftr.evaluation import refined_cells, shared_cells
from microloftr.evaluation.cell_choices import RULES, FineStage, Schedule, choose, seen, train_stages
from microloftr.model.weights import load_model, random_model, shipped
from microloftr.training.losses import heat_loss
from microloftr.training.step import LossWeights

CROP = 96
SHORT = Schedule(steps=2, pairs=2, crop=CROP, weights=LossWeights(refined_per_pair=16))


@pytest.fixture(scope="module")
def atlas():
    generator = torch.Generator().manual_seed(0)
    made = []
    for k in range(3):
        coarse = torch.rand(1, 1, 50, 50, generator=generator)
        image = torch.nn.functional.interpolate(coarse, (400, 400), mode="bicubic").clamp(0, 1)[0, 0]
        made.append(Micrograph(f"m{k}", "train", f"s{k}", "sem", (image * 255).byte().numpy()))
    return build_atlas(made)


@pytest.fixture(scope="module")
def model():
    return load_model(shipped("micro"))


@pytest.fixture(scope="module")
def batch(model, atlas):
    return seen(model, atlas, 0, np.arange(6), CROP, 0.1)


def chosen(rule, batch, per_pair=16, jitter=0.3):
    weights = LossWeights(refined_per_pair=per_pair, jitter=jitter)
    return choose(rule, batch, weights, torch.Generator().manual_seed(1))


def named(cells) -> list[tuple[int, ...]]:
    return [tuple(row) for row in torch.stack((cells.batch_index, cells.cells_0, cells.cells_1), 1).tolist()]


def test_true_cells_are_true_and_some_of_the_moved_are_not(batch):
    true, moved = (chosen(rule, batch) for rule in ("true", "moved"))
    assert (true.cells_1 == batch.truth.cells_1[true.batch_index, true.cells_0]).all()
    assert batch.target(true).abs().max() <= 4
    assert torch.equal(true.cells_0, moved.cells_0)
    away = moved.cells_1 != true.cells_1
    assert 0.05 < away.float().mean() < 0.5
    assert (batch.target(moved) - batch.target(true)).abs().max() <= 8
    assert (true.batch_index.bincount(minlength=6) <= 16).all()


def test_found_cells_are_the_models_and_published_ones_are_filled_up_with_truth(batch):
    of_model = set(named(batch.found))
    found, published = (chosen(rule, batch) for rule in ("found", "published"))
    names = named(found)
    assert len(set(names)) == len(names) > 0 and set(names) <= of_model
    assert found.batch_index.bincount(minlength=6).max() <= 16
    assert len(published.cells_0) == 16 * 6
    filled = published.confidence == 0
    assert filled.sum() >= 48
    true = batch.truth.cells_1[published.batch_index, published.cells_0]
    assert (published.cells_1[filled] == true[filled]).all()


def test_random_cells_have_their_truth_elsewhere_and_an_unknown_rule_is_named(batch):
    anywhere = batch.target(chosen("random", batch, per_pair=64))
    assert (anywhere.abs().amax(1) > 8).float().mean() > 0.8
    with pytest.raises(ParameterError, match=r"no rule 'best'.*moved"):
        chosen("best", batch)


def test_only_a_copy_of_the_fine_stage_learns(model, atlas):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    start = FineStage(model)
    stages = train_stages(model, {"true": start, "moved": start}, atlas, SHORT)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    kept = dict(start.named_parameters())
    for stage in stages.values():
        assert any(not torch.equal(kept[name], value) for name, value in stage.named_parameters())
    differ = [not torch.equal(a, b) for a, b in zip(*(s.parameters() for s in stages.values()), strict=True)]
    assert any(differ)
    again = train_stages(model, {"true": start}, atlas, SHORT)["true"]
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), stages["true"].parameters(), strict=True))


def test_a_stage_refines_as_its_model_does_and_learns_what_it_is_shown(model, atlas, batch):
    cells = chosen("true", batch)
    pairs = make_pairs(atlas, "train", 0, np.arange(6), CROP)
    with torch.no_grad():
        encoded = model.encode(*model.pyramids(pairs.images_0, pairs.images_1))
        expected, found = model.refine(encoded, cells).offset, FineStage(model)(batch.encoded, cells).offset
    assert torch.allclose(found, expected, atol=1e-5)
    fresh = FineStage(random_model("micro", 0))
    trained = train_stages(model, {"true": fresh}, atlas, replace(SHORT, steps=30, weights=LossWeights()))["true"]

    def heat(stage):
        with torch.no_grad():
            return float(heat_loss(stage(batch.encoded, cells).log_heat, batch.target(cells), cells.batch_index, 6))

    assert heat(trained) < heat(fresh)


def test_a_preset_without_a_fine_map_is_refused():
    with pytest.raises(ParameterError, match="one_conv has no fine map"):
        FineStage(random_model("one_conv"))


def judged(shift: float, seed: int = 0):
    """Errors around 1 px, moved by `shift`, of 3 specimens; a third of the cells one beside the truth, a few far."""
    rng = np.random.default_rng(seed)
    distance = np.concatenate((rng.uniform(0, 4, 200), rng.uniform(4.1, 12, 100), np.full(20, 60.0)))
    error = np.concatenate((rng.uniform(0.5, 1.5, 300) + shift, np.full(20, 60.0)))
    return refined_cells.Judged(error, distance, np.array(["a", "b", "c", "d"] * 80))


def test_verdicts_follow_the_interval_of_the_difference():
    rows = refined_cells.summarise(
        {"moved": judged(0.0), "true": judged(0.0), "found": judged(0.4), "published": judged(-0.3)}
    )
    said = {rule: row["verdict"] for rule, row in rows.items()}
    assert said == {"moved": "reference", "true": "tie", "found": "worse", "published": "better"}
    assert rows["found"]["difference"] == pytest.approx(0.4, abs=1e-3)
    assert rows["moved"]["median_low"] <= rows["moved"]["median"] <= rows["moved"]["median_high"]
    assert 0.4 < rows["moved"]["within"] < 0.6 and rows["moved"]["median"] < 2  # the far ones do not count
    with pytest.raises(ParameterError, match="two specimens"):
        one = judged(0.0)
        refined_cells.summarise({"moved": replace(one, specimen=np.full(len(one.error), "a"))})


def test_the_study_holds_every_rule(model, atlas):
    values = refined_cells.study(model, atlas, atlas, SHORT, 6)
    assert set(values["shipped"]) == set(RULES) == set(values["trained"]["fresh"])
    assert set(values["trained"]["shipped"]) == set(RULES) - {"random"}
    assert values["shipped"]["true"]["own"] == 1 > values["shipped"]["random"]["in_window"]
    assert values["pairs"] == 6 and values["steps"] == 2 and values["specimens"] == 3


@pytest.mark.parametrize("argv", [["--steps", "0"], ["--pairs", "1"]])
def test_the_command_refuses_what_cannot_be(argv):
    with pytest.raises(ParameterError, match="--steps must be"):
        refined_cells.main(argv)


@pytest.mark.parametrize(
    ("scale", "degrees", "shared", "kept"), [(0.5, 0, 1.0, 0.25), (1.0, 0, 0.0, 1.0), (2.0, 30, 0.0, 1.0)]
)
def test_sharing_at_known_scales(scale, degrees, shared, kept):
    found = shared_cells.sharing_at(scale, degrees)
    assert found.shared == pytest.approx(shared, abs=0.02) and found.kept == pytest.approx(kept, abs=0.02)
    assert (found.most == 1) == (shared == 0)


def test_a_turn_alone_makes_cells_share():
    assert 0.05 < shared_cells.sharing_at(1.0, 20).shared < shared_cells.sharing_at(1.0, 45).shared


def test_cells_and_matches_that_share_are_told_apart(model, atlas):
    pairs = make_pairs(atlas, "medium", 0, np.arange(6), CROP)
    cells, matches = shared_cells.judge(model, [pairs], atlas.specimens, 0.05)
    assert set(cells.group) == set(shared_cells.GROUPS) and set(matches.group) <= {"mutual", "extra"}
    kept = [((cells.group == "kept") & (cells.pair == k)).sum() for k in range(6)]
    left = [((cells.group == "left out") & (cells.pair == k)).sum() for k in range(6)]
    assert max(kept) > 0 and max(left) > 0
    assert set(cells.specimen) == {"s0", "s1", "s2"} and np.isfinite(cells.error).all()
    assert 0 <= matches.right("mutual") <= 1


def test_kinds_are_compared_within_a_pair():
    """Pairs of quite different errors, with more sharing in the worse ones: only what sharing adds is found."""
    rng = np.random.default_rng(0)
    error, group, pair = [], [], []
    for k in range(12):
        for name, count in (("alone", 40 - 2 * k), ("kept", 12 + k), ("left out", 12 + k)):
            error.append(rng.normal(k, 0.05, count) + 0.2 * (name != "alone"))
            group += [name] * count
            pair += [k] * count
    specimen = np.array([f"s{k % 5}" for k in pair])
    given = shared_cells.Judged(np.concatenate(error), np.array(group), np.array(pair), specimen)
    found = shared_cells.compare(given)
    assert found["shared"][0] - found["alone"][0] > 1  # all together say something else
    assert found["difference"][0] == pytest.approx(0.2, abs=0.03)
    assert found["difference"][1] <= found["difference"][0] <= found["difference"][2]
    assert found["left_out"][0] == pytest.approx(0, abs=0.03)
    with pytest.raises(ParameterError, match="no pair has"):
        shared_cells.compare(replace(given, group=np.full(len(pair), "alone")))
