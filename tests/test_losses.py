"""Losses: no clamp, pixels, an average per pair, and finite where there is nothing to learn."""

import math

import pytest
import torch
from test_model import stirred
from test_supervision import batch, shifted

from microloftr.model.presets import PRESETS
from microloftr.training.losses import (
    cells_to_refine,
    coarse_loss,
    heat_loss,
    matchability_loss,
    mean_by_pair,
    offset_loss,
)
from microloftr.training.step import LossWeights, pair_loss
from microloftr.training.supervision import supervise


def test_flat_confidence_costs_the_logarithm_of_both_sides():
    flat = torch.zeros(1, 256, 256)
    log_confidence = flat.log_softmax(1) + flat.log_softmax(2)
    assert coarse_loss(log_confidence, torch.arange(256)[None]).item() == pytest.approx(2 * math.log(256), abs=1e-4)


def test_a_very_wrong_cell_still_has_a_gradient():
    """Clamping the confidence at 1e-6, as published, leaves it none."""
    similarity = torch.zeros(1, 4, 4)
    similarity[0, 0, 0] = -40.0
    for clamp in (False, True):
        logits = similarity.clone().requires_grad_()
        log_confidence = logits.log_softmax(1) + logits.log_softmax(2)
        if clamp:
            log_confidence = log_confidence.exp().clamp(1e-6, 1 - 1e-6).log()
        coarse_loss(log_confidence, torch.tensor([[0, -1, -1, -1]])).backward()
        assert (logits.grad[0, 0, 0].abs() > 0.1) == (not clamp)


def test_the_mean_is_per_pair_first():
    values, pair = torch.tensor([1.0, 1.0, 1.0, 5.0]), torch.tensor([0, 0, 0, 2])
    assert mean_by_pair(values, torch.ones(4, dtype=torch.bool), pair, 3).item() == pytest.approx(
        3.0
    )  # pair 1 has none
    log_confidence = torch.tensor([[[-1.0, -9], [-9, -1]], [[-5.0, -9], [-9, -9]]])
    assert coarse_loss(log_confidence, torch.tensor([[0, 1], [0, -1]])).item() == pytest.approx(3.0)


def test_nothing_to_learn_is_zero_and_finite():
    empty = torch.zeros(0)
    assert coarse_loss(torch.full((2, 3, 3), -5.0), torch.full((2, 3), -1)).item() == 0
    assert matchability_loss(torch.zeros(2, 3), torch.zeros(2, 3, dtype=torch.bool)).item() == 0
    assert heat_loss(torch.zeros(0, 81), torch.zeros(0, 2), empty.long(), 2).item() == 0
    assert offset_loss(torch.zeros(0, 2), torch.zeros(0, 2), torch.zeros(0, 2), empty.long(), 2).item() == 0


def test_heat_is_least_where_the_truth_is():
    place = torch.full((1, 9, 9), -20.0)
    place[0, 3, 6] = 0.0  # row 3, column 6: two fine cells right, one up, of 2 pixels each
    heat = place.flatten(1).log_softmax(1)
    first = torch.zeros(1, dtype=torch.long)
    assert heat_loss(heat, torch.tensor([[4.0, -2.0]]), first, 1).item() == pytest.approx(0, abs=1e-4)
    assert heat_loss(heat, torch.tensor([[-2.0, 4.0]]), first, 1).item() > 10
    assert heat_loss(heat, torch.tensor([[30.0, 0.0]]), first, 1).item() == 0  # outside the window
    uniform = torch.zeros(1, 81).log_softmax(1)
    assert heat_loss(uniform, torch.tensor([[1.0, 1.0]]), first, 1).item() == pytest.approx(math.log(81), abs=1e-4)


def test_offsets_are_judged_in_pixels_and_only_near_the_peak():
    first, zero = torch.zeros(1, dtype=torch.long), torch.zeros(1, 2)
    assert offset_loss(torch.tensor([[3.0, 4.0]]), zero, zero, first, 1).item() == pytest.approx(5, abs=1e-3)
    assert offset_loss(torch.tensor([[3.0, 4.0]]), zero, torch.tensor([[6.0, 0.0]]), first, 1).item() == 0


def test_cells_to_refine_are_true_ones_or_their_neighbours():
    truth = supervise(batch([shifted(16, 8), shifted(500, 0)]))
    generator = torch.Generator().manual_seed(0)
    index, cells_0, cells_1 = cells_to_refine(truth, 12, 12, 40, 0.0, generator)
    assert index.tolist() == [0] * 40  # the second pair has none
    assert torch.equal(cells_1, truth.cells_1[0, cells_0])
    assert len(cells_0.unique()) == 40
    _, cells_0, moved = cells_to_refine(truth, 12, 12, 40, 1.0, generator)
    true = truth.cells_1[0, cells_0]
    assert ((moved // 12 - true // 12).abs() <= 1).all()
    assert ((moved % 12 - true % 12).abs() <= 1).all()
    assert (moved != true).float().mean() > 0.6


@pytest.mark.parametrize("preset", list(PRESETS))
def test_a_step_is_finite_and_reaches_every_parameter_also_where_nothing_matches(preset):
    model = stirred(preset).train()
    pairs = batch([shifted(3.3, 5.1), shifted(900, 0)], 64)
    images = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    pairs = type(pairs)(images, images.roll((5, 3), (2, 3)), *list(vars(pairs).values())[2:])
    result = pair_loss(model, pairs, LossWeights(), torch.Generator().manual_seed(0))
    assert torch.isfinite(result.loss)
    result.loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.any(), name
    half = pair_loss(model, pairs, LossWeights(), torch.Generator().manual_seed(0), torch.bfloat16)
    assert half.loss.item() == pytest.approx(result.loss.item(), rel=0.05)
    nothing = batch([shifted(900, 0)], 64)
    assert torch.isfinite(pair_loss(model, nothing, LossWeights(), torch.Generator().manual_seed(0)).loss)
