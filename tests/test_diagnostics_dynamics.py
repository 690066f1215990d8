"""Prediction dynamics: right numbers, nothing touched, kept and read again, and drawn."""

import io
import math

import numpy as np
import pytest
import torch
from PIL import Image as Picture

from microloftr.data.fixed import split_atlas
from microloftr.data.pairs import make_pairs
from microloftr.errors import ParameterError
from microloftr.geometry import cell_points
from microloftr.model.weights import load_model, random_model, shipped
from microloftr.training.diagnostics.dynamics import Dynamics, moved, observe, packed, unpacked
from microloftr.training.step import cell_accuracy
from microloftr.training.supervision import supervise
from microloftr.views.dynamics_figures import (
    LARGEST,
    animation_bytes,
    frame,
    save_animation,
    save_strip,
    strip_bytes,
)


@pytest.fixture(scope="module")
def batch():
    return make_pairs(split_atlas("validation"), "easy", 7, np.arange(2), 96)


@pytest.fixture(scope="module")
def seen(batch):
    return observe(load_model(shipped("micro")), batch, step=50)


def test_the_numbers_are_those_of_training_and_of_the_trace(batch, seen):
    model = load_model(shipped("micro")).eval()
    with torch.no_grad():
        trace = model.trace(batch.images_0, batch.images_1, 0.0)
    truth = supervise(batch)
    numbers = seen.numbers()
    assert numbers["accuracy"] == pytest.approx(float(cell_accuracy(trace.log_confidence, truth)))
    assert numbers["accuracy"] > 0.5
    assert numbers["error"] < 2  # refined: a coarse place alone is about 3 px off
    matches = trace.matches
    width = batch.images_0.shape[-1] // 8
    cells_0 = (matches.points_0 / 8).long() @ torch.tensor([1, width])
    for pair, cell, point in zip(matches.batch_index, cells_0, matches.points_1, strict=True):
        if seen.matched[pair, cell]:
            assert np.allclose(seen.points_1[pair, cell], point, atol=1e-3)


def test_nothing_is_touched(batch):
    model = random_model("micro").train()
    model.backbone.eval()  # as where a part is frozen
    modes = [module.training for module in model.modules()]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.get_rng_state()
    observe(model, batch)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.is_grad_enabled()


def test_modes_come_back_where_the_model_fails(batch):
    model = random_model("one_conv").train()
    model.coarse_matching.forward = None
    with pytest.raises(TypeError):
        observe(model, batch)
    assert all(module.training for module in model.modules())


def test_a_model_without_refinement_answers_with_cells(batch):
    seen = observe(random_model("one_conv"), batch)
    assert np.array_equal(seen.points_1, cell_points(torch.from_numpy(seen.cells_1), 12, 8).numpy())


def by_hand(points, true_cells):
    """One pair of four cells, a 2 × 2 grid."""
    true = np.array([[[0, 0], [8, 0], [0, 8], [8, 8]]], dtype=float)
    cells = np.array([[0, 1, 3, 3]])
    return Dynamics(3, cells, np.array([points], dtype=float), np.full((1, 4), 0.5), np.array([true_cells]), true)


def test_errors_by_hand():
    seen = by_hand([[3, 4], [8, 0], [8, 8], [8, 8]], [0, 1, 2, -1])
    assert seen.right.tolist() == [[True, True, False, False]]
    assert seen.errors[0, :3].tolist() == [5, 0, 8] and math.isnan(seen.errors[0, 3])
    assert seen.numbers() == {"accuracy": 2 / 3, "error": 5, "confidence": 0.5}
    other = by_hand([[0, 0]] * 4, [0, 1, 2, -1])
    assert moved(seen, other) == 0
    other.cells_1[0] = (1, 1, 3, 0)  # the last has no match, and does not count
    assert moved(seen, other) == 1 / 3
    nothing = by_hand([[0, 0]] * 4, [-1] * 4)
    assert nothing.numbers() == {"accuracy": 0, "error": float("inf"), "confidence": 0}


def test_kept_and_read_again(batch, seen):
    values = packed(seen)
    again = unpacked(values, batch)
    assert again.step == 50 and np.array_equal(again.right, seen.right)
    assert np.abs(again.points_1 - seen.points_1)[seen.matched].max() <= 0.0501
    assert again.numbers()["confidence"] == pytest.approx(values["confidence"], abs=0.005)
    other = make_pairs(split_atlas("validation"), "easy", 8, np.arange(2), 96)
    with pytest.raises(ParameterError, match="is not the pair that the record is of"):
        unpacked(values, other)
    with pytest.raises(ParameterError, match="of 2 pairs, and the batch has 1"):
        unpacked(values, make_pairs(split_atlas("validation"), "easy", 7, np.arange(1), 96))


def test_a_strip_and_an_animation(batch, seen, tmp_path):
    worse = observe(random_model("micro"), batch)
    frames = [frame(each, batch.images_0, batch.images_1, pairs=2) for each in (worse, seen, seen)]
    save_strip(frames, tmp_path / "strip.png", most=2)
    strip = Picture.open(tmp_path / "strip.png")
    width, height = (round(100 * inches) for inches in frames[0].get_size_inches())
    assert strip.size == (2 * width + 16, height)
    many = Picture.open(io.BytesIO(strip_bytes(frames * 3, most=9)))
    assert many.size == (3 * width + 32, 3 * height + 32)  # three in a row
    save_animation(frames, tmp_path / "moves.webp")
    assert (tmp_path / "moves.webp").stat().st_size <= LARGEST
    moving = Picture.open(tmp_path / "moves.webp")
    assert (moving.n_frames, moving.size) == (2, (width, height))  # the last two are one picture, shown for longer
    assert animation_bytes(frames) == animation_bytes(frames) and strip_bytes(frames) == strip_bytes(frames)
    small = animation_bytes(frames, largest=len(animation_bytes(frames)) // 4)
    assert Picture.open(io.BytesIO(small)).width < moving.width


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda folder, frames: save_strip(frames, folder / "a.jpg"), "must end in .png"),
        (lambda folder, frames: save_animation(frames, folder / "a.mp4"), "must end in .webp"),
        (lambda folder, frames: save_strip([], folder / "a.png"), "no frame to show"),
        (lambda folder, frames: animation_bytes(frames, largest=100), "more than 100 bytes"),
    ],
)
def test_what_cannot_be_drawn_is_one_sentence(call, message, batch, seen, tmp_path):
    with pytest.raises(ParameterError, match=message):
        call(tmp_path, [frame(seen, batch.images_0, batch.images_1)])
    assert not list(tmp_path.iterdir())
