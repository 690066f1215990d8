"""Heads, rates and layers that are set wrongly on purpose: the check that is there for them fails, and no other way."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from blotches import blotched_atlas
from torch import nn

from microloftr.config.plain import Config, TrainConfig
from microloftr.data.pairs import make_pairs
from microloftr.errors import ParameterError
from microloftr.model.presets import PRESETS
from microloftr.model.weights import load_model, random_model, shipped
from microloftr.training.diagnostics.brief import fresh
from microloftr.training.diagnostics.dynamics import observe, settles
from microloftr.training.diagnostics.initial_loss import initial_loss, scale_range
from microloftr.training.diagnostics.layers import dead, faults, layer_statistics
from microloftr.training.diagnostics.updates import outside, ratios_through
from microloftr.training.diagnostics.window_recall import window_recall
from microloftr.training.small_run import small_run
from microloftr.training.stepper import Stepper


@pytest.fixture(scope="module")
def atlas():
    return blotched_atlas()


@pytest.fixture(scope="module")
def batch(atlas):
    return make_pairs(atlas, "easy", 0, np.arange(3), 96)


@pytest.mark.parametrize("preset", ["micro", "one_conv"])
@pytest.mark.parametrize(
    ("head", "fault"),
    [
        ({"bias": -5.54}, "bias"),  # one match among 256 cells, the usual rule
        ({"bias": -10.0}, "bias"),
        ({"bias": 5.0}, "bias"),
        ({"bias": "default"}, "matchability is not silent"),
        ({"scale": 1.0}, "scale"),
        ({"scale": 100.0}, "scale"),
    ],
)
def test_a_head_that_is_set_wrongly_does_not_hold(batch, preset, head, fault):
    found = initial_loss(fresh(PRESETS[preset], 0, **head), batch)
    assert fault in found.faults() and not found.holds()


@pytest.mark.parametrize("preset", ["micro", "one_conv"])
def test_the_head_as_it_is_holds(batch, preset):
    found = initial_loss(fresh(PRESETS[preset], 0), batch)
    low, high = scale_range(found.cells, found.channels)
    assert found.faults() == () and low < found.scale < high and found.uneven == 0
    assert initial_loss(random_model("loftr"), batch).scale is None


def test_cosines_of_random_descriptors_cost_what_the_range_says():
    """s²/C nats above even similarities, of a truth chosen at random, and half the probability at s = ln(L − 1)."""
    generator, cells, channels, scale = torch.Generator().manual_seed(0), 400, 128, 12.0
    one, other = (nn.functional.normalize(torch.randn(cells, channels, generator=generator), dim=1) for _ in range(2))
    similarity = scale * one @ other.T
    cost = float(-(similarity.log_softmax(1) + similarity.log_softmax(0)).mean()) - 2 * np.log(cells)
    assert cost == pytest.approx(scale**2 / channels, rel=0.1)
    perfect = torch.eye(cells) * np.log(cells - 1)
    assert float(perfect.softmax(1)[0, 0]) == pytest.approx(0.5, abs=1e-6)


def stepper_of(model, rate: float, steps: int = 60) -> Stepper:
    train = TrainConfig(steps=steps, lr=rate, backbone_lr=rate, warmup=5, decay=1, precision="32", average=0.0)
    return Stepper(model, replace(Config(), model=model.config, train=train), torch.device("cpu"))


def shown(atlas, steps: int, size: int = 64):
    return [make_pairs(atlas, "easy", 0, np.arange(2 * k, 2 * k + 2), size) for k in range(steps)]


@pytest.mark.parametrize(("factor", "good"), [(1, True), (100, False), (1e-3, False)])
def test_update_ratios_lie_in_their_band_at_the_right_rate_alone(atlas, factor, good):
    stepper = stepper_of(fresh(PRESETS["one_conv"], 0), 1e-3 * factor)
    ratios = ratios_through(stepper, shown(atlas, 40), every=10)
    assert list(ratios) == [10, 20, 30, 40] and set(ratios[10]) == {"backbone", "coarse_matching"}
    assert (outside(ratios) == ()) == good


def test_ratios_of_the_first_steps_alone_say_nothing(atlas):
    stepper = stepper_of(fresh(PRESETS["one_conv"], 0), 1e-3)
    assert outside(ratios_through(stepper, shown(atlas, 10), every=5)) == ()


def looks_of(model, atlas, rate: float, steps: int = 40):
    held, seen = make_pairs(atlas, "easy", 1, np.arange(4), 64), []
    look = lambda stepper: seen.append(observe(stepper.model, held, stepper.step))  # noqa: E731
    small_run(stepper_of(model, rate, steps), shown(atlas, steps), 10, look)
    return seen


def test_predictions_settle_but_not_of_a_frozen_model_or_at_too_high_a_rate(atlas):
    good = looks_of(fresh(PRESETS["one_conv"], 0), atlas, 3e-3)
    assert settles(good)
    frozen = fresh(PRESETS["one_conv"], 0)
    for name, parameter in frozen.named_parameters():
        parameter.requires_grad_(name.endswith("matchability.bias"))
    assert not settles(looks_of(frozen, atlas, 3e-3))
    assert not settles(looks_of(fresh(PRESETS["one_conv"], 0), atlas, 30 * 3e-3))
    assert not settles(good[::-1])  # worse and worse
    with pytest.raises(ParameterError, match="take 3 or more"):
        settles(good[:2])


def test_a_window_that_is_too_small_or_beside_the_truth_does_not_hold(batch):
    trained = load_model(shipped("micro"))
    assert window_recall(trained, batch).holds()
    small = load_model(shipped("micro"))
    small.config = replace(small.config, window=3)
    small.refinement.window = 3
    assert not window_recall(small, batch).holds()
    shifted = load_model(shipped("micro"))
    encode = shifted.encode
    shifted.encode = lambda *x: (lambda e: replace(e, coarse_1=e.coarse_1.roll(2, -1)))(encode(*x))
    assert not window_recall(shifted, batch).holds()
    assert not window_recall(trained, batch, threshold=0.99999).holds()  # nothing is found


def test_exploding_and_vanishing_activations_and_a_dead_layer_are_seen(batch):
    for preset in ("micro", "one_conv"):
        assert faults(layer_statistics(load_model(shipped(preset)), batch)) == ()
    for factor in (1e3, 1e-3):
        broken = load_model(shipped("one_conv"))
        with torch.no_grad():
            for value in broken.backbone.out.parameters():
                value.mul_(factor)
        statistics = layer_statistics(broken, batch)
        assert "backbone.out" in faults(statistics) and dead(statistics) == ()
    closed = load_model(shipped("micro"))
    with torch.no_grad():
        closed.backbone.eighth[1][0].bias.fill_(-1e4)
    assert "backbone.eighth.1.1" in faults(layer_statistics(closed, batch))
