"""Attention: what is drawn is what the model does, costs follow their formulas, figures hold their parts."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib.patches import FancyArrowPatch

from microloftr.errors import ParameterError
from microloftr.images import Image
from microloftr.model.attention import ATTENTION
from microloftr.model.weights import random_model
from microloftr.views import attention_cost as cost
from microloftr.views import attention_figures as figures
from microloftr.views import attention_study as study
from microloftr.views.case import as_batch, trace_case
from microloftr.views.figures import figure_bytes

SHIFT = 16.0  # pixels, two cells, to the right


@pytest.fixture(scope="module")
def model():
    """`micro` whose layers do something: fresh ones change nothing."""
    model = random_model("micro", seed=1)
    generator = torch.Generator().manual_seed(2)
    for layer in (*model.transformer.self_layers, *model.transformer.cross_layers):
        torch.nn.init.normal_(layer.mlp[-1].weight, std=0.05, generator=generator)
    return model


@pytest.fixture(scope="module")
def seen(model):
    """A pair of unequal sizes, image_1 shifted, its trace and the calls of attention in that pass."""
    pixels = np.random.default_rng(3).random((64, 96), np.float32)
    images = [
        Image(pixels=values, um_per_px=None, name="made")
        for values in (pixels[:, :80].copy(), pixels[:, 16:].copy()[:56])
    ]
    homography = np.array([[1, 0, -SHIFT], [0, 1, 0], [0, 0, 1.0]])
    with study.recorded(model.transformer) as calls:
        case = trace_case(model, *images, homography)
    return case, calls


@pytest.mark.parametrize("kind", ATTENTION)
def test_weights_times_values_are_what_the_model_answers(kind):
    query, key, value = (torch.randn(2, 3, length, 8, dtype=torch.float64) for length in (5, 7, 7))
    weights = study.attention_weights(query, key, kind)
    assert weights.shape == (2, 3, 5, 7) and (weights > 0).all()
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 3, 5, dtype=torch.float64))
    torch.testing.assert_close(weights @ value, ATTENTION[kind](query, key, value), rtol=1e-5, atol=1e-6)


def test_an_unknown_kind_is_told():
    with pytest.raises(ParameterError, match="There is no attention 'windowed'; there are full, linear"):
        study.attention_weights(torch.ones(1, 2), torch.ones(1, 2), "windowed")


def test_recording_keeps_every_call_and_changes_nothing(model, seen):
    case, calls = seen
    again = trace_case(model, case.image_0, case.image_1, case.homography)
    assert torch.equal(again.trace.encoded.coarse_0, case.trace.encoded.coarse_0)
    names = [f"{kind}_layers.{number}" for number in range(3) for kind in ("self", "self", "cross", "cross")]
    assert [call.layer for call in calls] == names
    assert [study.kind_of(call) for call in study.asked_by_image_0(calls)][:3] == [
        ("self", 1),
        ("cross", 1),
        ("self", 2),
    ]
    for call in calls:
        torch.testing.assert_close(study.attention_weights(call.query, call.key) @ call.value, call.answer)
    cells_0, cells_1 = 80, 70
    lengths = [(call.query.shape[-2], call.key.shape[-2]) for call in calls[:4]]
    assert lengths == [(cells_0, cells_0), (cells_1, cells_1), (cells_0, cells_1), (cells_1, cells_0)]


def test_recording_ends_even_after_an_error(model):
    before = [layer.attend for layer in model.transformer.self_layers]
    with pytest.raises(RuntimeError), study.recorded(model.transformer):
        assert model.transformer.self_layers[0].attend is not before[0]
        raise RuntimeError
    assert [layer.attend for layer in model.transformer.self_layers] == before


@pytest.mark.parametrize(
    ("weights", "cells"), [([1.0, 0, 0, 0], 1), ([0.25] * 4, 2), ([0.4, 0.2, 0.2, 0.2], 2), ([0.6, 0.4, 0, 0], 1)]
)
def test_cells_for_half(weights, cells):
    assert int(study.cells_for_half(torch.tensor(weights))) == cells


def test_looks_count_what_lies_near_the_truth(seen):
    """Cells that look at all alike have the share of chance; cells that look at the truth alone have all."""
    case, calls = seen
    cross = study.asked_by_image_0(calls)[1]
    alike = replace(cross, query=torch.zeros_like(cross.query))
    (row, *_) = study.looks(case, [alike, alike])
    assert row.near == pytest.approx(row.chance) and (row.layer, row.kind, row.head) == (1, "cross", 1)
    assert row.half == row.half_linear == 35
    # Cell k of image_0 lies two columns further left in image_1: give both a direction of their own.
    columns_0 = torch.arange(80).reshape(8, 10)[:7, 2:].flatten()
    directions = 50 * torch.eye(70)
    query, key = torch.zeros(1, 4, 80, 70), directions.expand(1, 4, 70, 70)
    targets = torch.arange(70).reshape(7, 10)[:, :8].flatten()
    query[:, :, columns_0] = directions[targets]
    rows = study.looks(case, [replace(cross, query=query, key=key)] * 2)
    inside = study.overlap_cells(case, every=1)
    assert set(inside.tolist()) >= set(columns_0.tolist()) and all(cell % 10 >= 2 for cell in inside.tolist())
    share = np.isin(study.overlap_cells(case).numpy(), columns_0.numpy()).mean()
    assert all(row.near >= share - 1e-6 and row.half < 20 for row in rows) and share > 0.8
    assert study.sharpest([row, rows[0]], 1, "cross") is rows[0]
    assert "1      cross  1 " in study.looks_table(rows)


def test_order_and_place_matter_in_the_published_transformer_alone(model):
    loftr = random_model("loftr", seed=0)
    for tested, channels, matters in ((loftr, 256, True), (model, 128, False)):
        cells_0, cells_1 = torch.randn(1, channels, 4, 5), torch.randn(1, channels, 3, 4)
        changes = (
            study.order_matters(tested, cells_0, cells_1),
            study.place_matters(tested, cells_0, 9, ((0, 0), (5, 3))),
        )
        assert all(change > 0.1 for change in changes) if matters else all(change < 1e-4 for change in changes)


def test_shapes_are_told_with_their_letters(seen, model):
    case, _ = seen
    shapes = study.shapes(model, as_batch(case.image_0), as_batch(case.image_1))
    assert shapes["weights, all with all"] == ("B, heads, L0, L1", (1, 4, 80, 70))
    assert shapes["coarse_0"] == ("B, C, h, w", (1, 128, 8, 10))
    lines = study.table({"micro": shapes, "other": shapes}).splitlines()
    assert (
        len(lines) == 8 and lines[0].split() == ["letters", "micro", "other"] and lines[6].count("1 × 4 × 80 × 70") == 2
    )


@pytest.mark.parametrize("side", [64, 96])
def test_costs_follow_their_formulas(side):
    counted = {kind: cost.count(kind, side) for kind in (cost.WRITTEN, cost.FUSED, cost.LINEAR, cost.REST)}
    cells = (side // 8) ** 2
    for kind, name in ((cost.WRITTEN, "full"), (cost.LINEAR, "linear"), (cost.REST, "rest")):
        assert counted[kind].products == cost.FORMULAS[name].products(cells, 256, 8) and counted[kind].cells == cells
    assert counted[cost.FUSED].products is None
    maps = 4 * cells * 256  # bytes of L × C numbers
    assert counted[cost.FUSED].bytes == maps + 4 * 8 * cells  # and the sum of each row, for the way back
    assert counted[cost.WRITTEN].bytes == pytest.approx(2 * 4 * 8 * cells**2 + maps, rel=0.01)


def test_the_published_sizes_give_the_published_table():
    """L = 4800 cells of 640 × 480 px; 10⁹ products as worked out by hand from the papers' formulas."""
    products = {name: formula.products(4800, 256, 8) / 1e9 for name, formula in cost.FORMULAS.items()}
    worked = {"full": 11.8, "linear": 0.08, "quadtree": 0.28, "aggregated": 0.046, "windowed": 0.12, "rest": 3.15}
    assert products == pytest.approx(worked, rel=0.02)
    assert 4 * cost.FORMULAS["full"].held(4800, 256, 8) / 1e6 == pytest.approx(737, rel=0.001)


def test_memory_counts_what_is_held_at_once():
    given = torch.ones(1000)
    with cost.Counting() as counting:
        one = given + 1  # 4000 bytes
        view = one[:10]
        two = one * 2  # 8000 held
        del one, two, view
        three = torch.ones(500)  # 2000
        three.mul_(2)
    assert (counting.peak, counting.now) == (8000, 2000)


def test_times_are_repeated_and_compared_by_the_least():
    assert len(cost.seconds(cost.LINEAR, 64, repeats=4, at_least=0)) == 4
    threads = torch.get_num_threads()
    assert len(cost.seconds(cost.LINEAR, 64, repeats=1, at_least=0.02)) > 1 and torch.get_num_threads() == threads
    assert cost.ratio([4.0, 2.0, 6.0], [1.0, 3.0, 2.0]) == cost.Ratio(2.0, 1.0, 4.0)


def test_figures_hold_their_parts(seen):
    case, calls = seen
    rows = study.looks(case, calls)
    arrows = figures.draw_arrows(case, calls, rows)
    for axes in arrows.axes:
        drawn = [patch for patch in axes.patches if isinstance(patch, FancyArrowPatch)]
        assert figures.ARROWS * 2 - 1 <= len(drawn) <= figures.ARROWS * 2
    assert [axes.get_title().split("\n")[0] for axes in arrows.axes] == ["layer 1", "layer 2", "layer 3"]
    assert figure_bytes(arrows, "png") == figure_bytes(figures.draw_arrows(case, calls, rows), "png")
    sharpness = figures.draw_sharpness(case, study.asked_by_image_0(calls)[1], rows)
    assert sum(len(axes.images) for axes in sharpness.axes) == 8
    products = figures.draw_products(256, 32)
    areas = sorted(patch.get_width() * patch.get_height() for patch in products.axes[0].patches)
    assert areas[-1] == pytest.approx(8 * areas[0]) and len(products.axes[1].patches) == 5


def test_the_figure_of_costs_draws_what_was_counted():
    counted = [cost.Cost(kind, side, side * side // 64, 10**6 * side, 10**3 * side) for kind in figures.STYLES
               for side in (64, 128) if kind != cost.WRITTEN or side == 64]  # fmt: skip
    times = {(entry.kind, entry.side): [3e-3, 1e-3] for entry in counted}
    figure = figures.draw_costs(counted, times)
    lines = {line.get_label(): line for line in figure.axes[2].lines}
    assert lines["linear"].get_xdata() == pytest.approx([64, 128]) and lines["linear"].get_ydata() == pytest.approx(
        [1, 1]
    )
    dotted = [line for line in figure.axes[1].lines if line.get_linestyle() == ":"]
    assert len(dotted) == 1 and dotted[0].get_ydata() == pytest.approx([0.064, 0.064 * 16])
