"""Short trainings of the recipe: what is learnt from real input alone, one batch by heart, and the record."""

import json
import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from microloftr.config.plain import TrainConfig
from microloftr.data.atlas import build_atlas
from microloftr.data.micrographs import Micrograph
from microloftr.data.pairs import make_pairs
from microloftr.errors import ParameterError
from microloftr.model.presets import PRESETS
from microloftr.results import read_result, write_result
from microloftr.training.diagnostics import recipe, recipe_micro
from microloftr.training.diagnostics.brief import Curve, fresh, shuffled, train_briefly, zeros
from microloftr.training.diagnostics.initial_loss import best_bias, derived_coarse, derived_matchability
from microloftr.training.diagnostics.overfit import Look, overfit
from microloftr.training.supervision import supervise

TRAIN = TrainConfig(steps=40, lr=3e-3, backbone_lr=3e-3, warmup=5, decay=40, weight_decay=0.0, precision="32")


@pytest.fixture(scope="module")
def atlas():
    generator = torch.Generator().manual_seed(0)
    blotches = torch.rand(1, 1, 90, 90, generator=generator)
    image = nn.functional.interpolate(blotches, (420, 420), mode="bicubic").clamp(0, 1)[0, 0]
    return build_atlas([Micrograph("m", "train", "s", "sem", (image * 255).byte().numpy())])


@pytest.fixture(scope="module")
def batch(atlas):
    return make_pairs(atlas, "easy", 0, np.arange(2), 64)


def test_real_input_beats_zeros_and_a_shuffled_truth(atlas):
    batches = [make_pairs(atlas, "easy", 0, np.arange(4 * k, 4 * k + 4), 64) for k in range(12)]
    held = make_pairs(atlas, "easy", 1, np.arange(6), 64)
    train = replace(TRAIN, steps=12)

    def last(change, loss_change=None) -> float:
        model = fresh(PRESETS["one_conv"], 0)
        return train_briefly(model, batches, change(held), train, 12, change=loss_change or change).total[-1]

    nothing = derived_coarse(64, 64, best_bias()) + derived_matchability(best_bias())
    real, blind, wrong = last(lambda x: x), last(zeros), last(shuffled)
    assert nothing - 1e-3 < blind < nothing + 0.1  # what can be had without an image, and not less
    assert wrong > blind - 0.3
    assert real < blind - 2
    broken = last(lambda x: x, zeros)  # a training that is shown blank images by mistake
    assert broken > real + 1


def test_briefly_trained_models_start_alike_and_end_alike(atlas):
    batches, ends = [make_pairs(atlas, "easy", 0, np.arange(2), 64)] * 3, []
    for _ in range(2):
        curve = train_briefly(fresh(PRESETS["one_conv"], 0), batches, batches[0], replace(TRAIN, steps=3), 2)
        ends.append(curve)
    assert ends[0] == ends[1] and ends[0].steps == (0, 2, 3)
    head = fresh(PRESETS["one_conv"], 0, scale=3.0, bias=-2.0).coarse_matching
    assert float(head.log_scale.detach().exp()) == pytest.approx(3) and float(head.matchability.bias.detach()) == -2
    assert float(fresh(PRESETS["one_conv"], 0, bias="default").coarse_matching.matchability.weight.detach().std()) > 0


def test_the_steps_to_a_loss_lie_on_the_straight_line_between_looks():
    curve = Curve((0, 10, 20), (5.0, 3.0, 2.0), (1.0, 1.0, 1.0), (0.0, 0.1, 0.2))
    assert curve.total == (6.0, 4.0, 3.0)
    assert (curve.steps_to(7), curve.steps_to(5), curve.steps_to(3.5), curve.steps_to(1)) == (0, 5, 15, None)


def test_one_batch_is_learnt_by_heart(batch):
    result = overfit(fresh(PRESETS["one_conv"], 0), batch, TRAIN)
    assert result.holds() and result.looks[-1].right == 1 and result.looks[-1].fine is None
    assert result.looks[0].right < 1 and result.cells == int((supervise(batch).cells_1 >= 0).sum())


def test_a_shuffled_target_and_a_frozen_backbone_do_not_get_there(batch):
    wrong = supervise(shuffled(batch))
    assert not overfit(fresh(PRESETS["one_conv"], 0), batch, TRAIN, truth=wrong).holds()
    frozen = fresh(PRESETS["one_conv"], 0)
    for parameter in frozen.parameters():
        parameter.requires_grad_(parameter is frozen.coarse_matching.matchability.bias)
    start = overfit(frozen, batch, TRAIN)
    assert not start.holds() and start.looks[0].right == start.looks[-1].right


def test_a_look_holds_by_its_cells_and_its_pixels():
    assert Look(1, 0.1, 1.0, 0.04, 0.2).holds() and Look(1, 0.1, 1.0, None, None).holds()
    assert not Look(1, 0.1, 0.99, 0.04, 0.2).holds() and not Look(1, 0.1, 1.0, 0.06, 0.2).holds()


@pytest.mark.long
def test_micro_learns_a_batch_by_heart_to_a_twentieth_of_a_pixel():
    """The record's own run: every coarse prediction right, fine error below 0.05 px."""
    found = recipe.by_heart(0, print)
    assert found["micro"]["holds"] and found["micro"]["right"][-1] == 1 and found["micro"]["fine"][-1] < 0.05
    assert found["one_conv"]["holds"]


def test_the_command_writes_the_record(tmp_path, monkeypatch, atlas):
    monkeypatch.setattr(recipe, "split_atlas", lambda split: atlas)
    monkeypatch.setattr(recipe, "CROP", 64)
    monkeypatch.setattr(recipe, "HELD", 2)
    monkeypatch.setattr(recipe, "SIZES", {"one_conv": (64,)})
    monkeypatch.setattr(recipe, "OVERFIT", {"one_conv": (2, 1e-3)})
    monkeypatch.setattr(recipe_micro, "PRESETS", {"micro": PRESETS["one_conv"]})
    tiny = {"crop": 64, "batch": 2, "held": 2, "steps": 2, "every": 1}
    for name in ("LARGE", "BLIND", "MOVING"):
        monkeypatch.setattr(recipe_micro, name, tiny)
    monkeypatch.setattr(recipe, "write_result", partial(write_result, folder=tmp_path))
    monkeypatch.setattr(recipe, "read_result", partial(read_result, folder=tmp_path))
    assert recipe.main(["--steps", "2"]) == 0
    record = json.loads((tmp_path / "recipe.json").read_text(encoding="utf-8"))
    assert record["command"] == "python -m microloftr recipe --steps 2 --seed 0" and record["seed"] == 0
    values = record["values"]
    assert set(values["curves"]) == set(recipe.variants(64)) >= {"heeded", "not_heeded", "zeros", "shuffled"}
    assert values["derived"]["best_bias"] == pytest.approx(math.log(2), abs=1e-4)
    assert [row["preset"] for row in values["starts"]] == ["one_conv"]
    assert values["overfit"]["one_conv"]["step"] == [0, 2] and set(values["saved"]) == set(values["curves"]) - {
        "heeded"
    }
    assert set(values["large"]["curves"]) == {"heeded", "not_heeded"} and set(values["large"]["dead"]) == {
        "heeded",
        "not_heeded",
    }
    assert set(values["blind"]["curves"]) == {"real", "zeros"} and values["moving"]["steps"] == [1, 2]
    names = [*recipe.variants(64), "overfit", "starts", "large", "blind", "moving"]
    assert sorted(values["made"]) == sorted(names)
    stamp = values["made"]["clamped"]
    assert recipe.main(["--steps", "2", "--only", "heeded,starts"]) == 0  # the same again: all parts stay
    assert json.loads((tmp_path / "recipe.json").read_text(encoding="utf-8"))["values"] == values
    monkeypatch.setattr(recipe, "commit", lambda: "another")
    assert recipe.main(["--steps", "2", "--only", "blind"]) == 0  # each part keeps the commit that it was made by
    made = read_result("recipe", tmp_path)["values"]["made"]
    assert made["blind"]["commit"] == "another" and made["clamped"] == stamp
    assert recipe.main(["--steps", "1", "--only", "heeded"]) == 0  # another setting: nothing of before is kept
    assert set(read_result("recipe", tmp_path)["values"]["curves"]) == {"heeded"}
    with pytest.raises(ParameterError, match="--only has 'hedged'"):
        recipe.main(["--only", "hedged"])
