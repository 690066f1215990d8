"""Every check of the training recipe passes on the project's models and fails on one that is broken on purpose."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from blotches import blotched_atlas
from torch import nn

from microloftr.config.plain import Config, TrainConfig
from microloftr.data.pairs import make_pairs
from microloftr.model.loftr import LoFTR
from microloftr.model.presets import PRESETS
from microloftr.model.weights import load_model, random_model, shipped
from microloftr.training.diagnostics.as_seen import as_seen
from microloftr.training.diagnostics.dependency import dependencies
from microloftr.training.diagnostics.initial_loss import (
    FLAT_OFFSET,
    best_bias,
    clamped_loss,
    dead_share,
    derived_coarse,
    derived_matchability,
    initial_loss,
)
from microloftr.training.diagnostics.layers import dead, layer_statistics
from microloftr.training.diagnostics.residual import fingerprint, matched_by_noise, noise_pairs
from microloftr.training.diagnostics.stages import loss_of_pair, stages
from microloftr.training.diagnostics.swap import swap_gap
from microloftr.training.diagnostics.updates import by_part, gradient_norms, still, update_ratios
from microloftr.training.diagnostics.window_recall import window_recall
from microloftr.training.losses import coarse_loss
from microloftr.training.stepper import Stepper
from microloftr.training.supervision import supervise


@pytest.fixture(scope="module")
def atlas():
    return blotched_atlas()


@pytest.fixture(scope="module")
def batch(atlas):
    return make_pairs(atlas, "easy", 0, np.arange(3), 96)


@pytest.fixture(scope="module")
def small(atlas):
    return make_pairs(atlas, "easy", 0, np.arange(2), 64)


@pytest.fixture(scope="module")
def trained():
    return load_model(shipped("micro"))


def snapshot(model: LoFTR) -> dict:
    return {name: value.clone() for name, value in model.state_dict().items()}


def untouched(model: LoFTR, before: dict) -> bool:
    """No hook, no gradient and no changed number is left on the model."""
    hooks = any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in model.modules())
    gradients = any(p.grad is not None for p in model.parameters())
    same = all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    return same and not hooks and not gradients


# --- the loss before the first step


@pytest.mark.parametrize("size", [64, 112, 160])
@pytest.mark.parametrize("preset", ["micro", "one_conv"])
def test_the_loss_at_initialisation_is_the_derived_one(atlas, preset, size):
    batch = make_pairs(atlas, "easy", 0, np.arange(2), size)
    model = random_model(preset)
    before = snapshot(model)
    found = initial_loss(model, batch)
    cells = (size // 8) ** 2
    assert found.derived.coarse == pytest.approx(2 * math.log(cells) + 2 * math.log(1 + math.exp(-1)))
    assert found.holds()
    assert found.measured.matchability == pytest.approx(found.derived.matchability, rel=1e-5)  # its weights are zero
    assert found.measured.coarse == pytest.approx(found.derived.coarse + found.spread_cost - found.known, abs=1e-3)
    assert found.spread_cost >= 0 and found.known > 0.5
    assert untouched(model, before)


def test_the_derived_numbers_are_those_of_their_definitions():
    flat = torch.zeros(1, 12, 20).log_softmax(2) + torch.zeros(1, 12, 20).log_softmax(1)
    assert float(coarse_loss(flat, torch.full((1, 12), 3))) == pytest.approx(derived_coarse(12, 20), rel=1e-6)
    bias = torch.linspace(-3, 3, 6001, dtype=torch.float64)
    pays = 2 * nn.functional.softplus(-bias) + nn.functional.softplus(bias)
    assert best_bias() == pytest.approx(float(bias[pays.argmin()]), abs=1e-3)
    assert best_bias(coarse=2.0) == pytest.approx(math.log(4))
    assert derived_matchability(1.0) == pytest.approx(1.3133, abs=1e-4)
    points = np.random.default_rng(0).uniform(-4, 4, (200_000, 2))
    assert pytest.approx(np.hypot(*points.T).mean(), rel=5e-3) == FLAT_OFFSET


def test_a_heat_that_is_even_pays_the_derived_fine_loss(batch):
    """`micro` with a scale of 0: every place is as likely as every other; the first one is the peak."""
    model = random_model("micro")
    with torch.no_grad():
        model.refinement.log_scale.fill_(-30.0)
    found = initial_loss(model, batch)
    assert found.measured.heat == pytest.approx(found.derived.heat, rel=1e-4)
    assert found.derived.offset == pytest.approx(FLAT_OFFSET, rel=0.15)


def test_a_head_that_starts_too_cold_and_a_published_start_are_seen(batch, small):
    cold = random_model("micro")
    with torch.no_grad():
        cold.coarse_matching.log_scale.fill_(math.log(100.0))
    assert not initial_loss(cold, batch).holds()
    rare = random_model("micro")
    with torch.no_grad():
        rare.coarse_matching.matchability.weight.fill_(1.0)  # a head that is not silent at first
    assert not initial_loss(rare, batch).holds()
    published = initial_loss(random_model("loftr").train(), small)  # in training: normalised over the batch
    assert not published.holds() and published.spread_cost > 5


def test_a_clamped_loss_is_seen_by_its_dead_cells(atlas):
    large = make_pairs(atlas, "easy", 0, np.arange(1), 320)  # ln 1600 + ln 1600 > −ln 1e-6
    model = random_model("micro")
    ours, clamped = initial_loss(model, large), initial_loss(model, large, clamped_loss)
    assert ours.dead == 0 and ours.holds()
    assert clamped.dead > 0.3 and not clamped.holds()
    flat = torch.full((1, 1000, 1000), -2 * math.log(1001))
    assert dead_share(flat, torch.zeros(1, 1000, dtype=torch.long), clamped_loss) == 1
    assert dead_share(flat, torch.zeros(1, 1000, dtype=torch.long)) == 0


# --- who depends on whom


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("preset", ["micro", "one_conv"])
def test_a_pair_depends_on_its_own_images_and_on_no_other(batch, preset, training):
    model = random_model(preset).train(training)
    before = snapshot(model)
    chart = dependencies(model, batch)
    assert chart.images_0.shape == (3, 3)
    assert chart.leak == 0 and chart.least > 0 and chart.holds()
    assert untouched(model, before) and model.training == training


def test_published_batch_normalisation_leaks_in_training_alone(small):
    model = random_model("loftr")
    before = snapshot(model)
    assert dependencies(model.eval(), small).holds()
    chart = dependencies(model.train(), small)
    assert chart.leak > 0 and not chart.holds()
    assert untouched(model, before)  # its running statistics too


def test_a_leak_between_samples_and_a_deaf_side_are_seen(batch):
    leaky = random_model("one_conv")
    inside = leaky.backbone.forward
    leaky.backbone.forward = lambda x: inside(x + 1e-3 * x.mean(0, keepdim=True))
    assert dependencies(leaky, batch).leak > 0
    deaf = random_model("one_conv")
    match_cells = deaf.match_cells
    deaf.match_cells = lambda e: match_cells(replace(e, coarse_1=e.coarse_1.detach()))
    chart = dependencies(deaf, batch)
    assert chart.leak == 0 and chart.images_1.max() == 0 and not chart.holds()


def test_the_loss_of_each_pair_adds_up_to_the_batch_s(batch):
    seen = stages(random_model("one_conv"), batch)
    mean = sum(loss_of_pair(seen, k) for k in range(3)) / 3
    coarse = coarse_loss(seen.scores.log_confidence, seen.truth.cells_1)
    assert (mean - coarse).item() == pytest.approx(derived_matchability(1.0), rel=1e-4)


# --- what moves, and what passes through


def stepper_of(model: LoFTR) -> Stepper:
    train = TrainConfig(lr=1e-3, backbone_lr=1e-3, warmup=0, precision="32")
    return Stepper(model, replace(Config(), model=model.config, train=train), torch.device("cpu"))


def test_every_weight_moves_once_the_silent_layers_have_woken(batch):
    stepper = stepper_of(random_model("micro"))
    first = update_ratios(stepper, batch)
    assert any("transformer" in name for name in still(first))  # their last weights start at zero
    for _ in range(2):
        later = update_ratios(stepper, batch)
    assert still(later) == ()
    assert all(1e-4 < ratio < 0.3 for ratio in by_part(later).values())
    weights = {update.name: update for update in first}
    assert weights["coarse_matching.matchability.weight"].ratio is None  # a weight of zeros has no size to compare with


def test_a_frozen_head_is_seen(batch):
    model = random_model("one_conv")
    stepper = stepper_of(model)
    model.coarse_matching.project.weight.requires_grad_(False)
    assert still(update_ratios(stepper, batch)) == ("coarse_matching.project.weight",)
    cut = random_model("one_conv")
    inside = cut.backbone.forward
    cut.backbone.forward = lambda x: (lambda p: replace(p, eighth=p.eighth.detach()))(inside(x))
    assert {name.split(".")[0] for name in still(update_ratios(stepper_of(cut), batch))} == {"backbone"}
    norms = gradient_norms(cut, coarse_loss(stages(cut, batch).scores.log_confidence, supervise(batch).cells_1))
    assert norms["backbone.out.weight"] == 0 < norms["coarse_matching.log_scale"]


def test_layers_are_alive_and_a_dead_one_is_seen(batch, trained):
    before = snapshot(trained)
    statistics = layer_statistics(trained, batch)
    assert dead(statistics) == () and len(statistics) > 80
    by_name = {s.name: s for s in statistics}
    assert by_name["backbone.full.0.0"].calls == 1 and by_name["transformer.self_layers.0.query"].calls == 2
    assert by_name["transformer.self_layers.0.norm"].spread == pytest.approx(1, abs=0.5)
    assert untouched(trained, before)
    broken = load_model(shipped("micro"))
    with torch.no_grad():
        broken.backbone.eighth[1][0].bias.fill_(-1e4)
    assert "backbone.eighth.1.1" in dead(layer_statistics(broken, batch))


def test_hooks_come_off_when_the_pass_fails(batch):
    model = random_model("one_conv")
    before = snapshot(model)
    with pytest.raises(RuntimeError):
        layer_statistics(model, replace(batch, images_0=torch.zeros(3, 2, 96, 96)))
    assert untouched(model, before)


# --- what goes in, and what comes out


def test_the_batch_is_seen_at_the_first_layer_with_its_truth(batch):
    model = random_model("micro").train()
    before = snapshot(model)
    seen = as_seen(model, batch)
    assert seen.inputs_0.shape == seen.inputs_1.shape == (3, 2, 96, 96)
    assert seen.holds() and model.training
    assert untouched(model, before)
    shuffled = supervise(replace(batch, homography=batch.homography.roll(1, 0)))
    assert not as_seen(model, batch, shuffled).holds()
    assert not as_seen(model, replace(batch, images_0=0 * batch.images_0, images_1=0 * batch.images_1)).holds()
    assert not as_seen(random_model("loftr"), replace(batch, images_0=255 * batch.images_0)).holds()


def test_the_window_holds_the_truth_and_a_smaller_one_does_not(batch, trained):
    found = window_recall(trained, batch)
    assert found.n > 100 and found.reach == 8
    assert found.own > 0.7 and found.own + found.beside > 0.95 and found.inside > 0.95
    small = load_model(shipped("micro"))
    small.config = replace(small.config, window=5)
    small.refinement.window = 5
    assert window_recall(small, batch).inside < found.inside
    shifted = load_model(shipped("micro"))
    encode = shifted.encode
    shifted.encode = lambda *x: (lambda e: replace(e, coarse_1=e.coarse_1.roll(2, -1)))(encode(*x))
    assert window_recall(shifted, batch).inside < 0.2  # two cells off


def test_the_order_of_the_images_matters_to_the_published_model_alone(batch, small, trained):
    assert swap_gap(trained, batch).holds()
    gap = swap_gap(random_model("loftr"), small)
    assert not gap.holds() and gap.shared < 1
    broken = load_model(shipped("micro"))
    cross = broken.transformer.cross_layers[0]
    calls = []
    inside = cross.forward
    cross.forward = lambda x, source, *rest: (
        calls.append(0) or inside(x, source.flip(-1) if len(calls) % 2 else source, *rest)
    )
    assert not swap_gap(broken, batch).holds()


@pytest.mark.parametrize("level", ["easy", "train"])
def test_noise_alone_matches_nothing_unless_both_crops_share_it(level, trained):
    renewed, shared = noise_pairs(level), noise_pairs(level, renewed=False)
    assert fingerprint(renewed).holds() and not fingerprint(shared).holds()
    assert matched_by_noise(trained, renewed) < 0.05
    assert matched_by_noise(trained, shared) > 0.2


def test_the_presets_that_are_checked_are_all_there_are():
    assert set(PRESETS) == {"micro", "one_conv", "loftr"}
