"""Refinement's study and figures: the path of a match, readings of one heat, choices of cells, gradients, marks."""

import numpy as np
import pytest
import torch
from torch import nn

from microloftr.errors import ConfigError, ParameterError
from microloftr.images import Image
from microloftr.model.coarse_matching import CoarseMatches
from microloftr.model.weights import random_model
from microloftr.views import refinement_figures as figures
from microloftr.views import refinement_study as study
from microloftr.views.case import trace_case
from microloftr.views.figures import figure_bytes

SHIFT = (-3.0, -2.0)


@pytest.fixture(scope="module")
def case():
    return made("micro")


def made(preset: str, threshold: float = 0.0):
    """A random model on one texture cut out twice, the second 3 px further right and 2 px further down."""
    pixels = np.random.default_rng(2).uniform(size=(66, 83)).astype(np.float32)
    images = (Image(np.ascontiguousarray(part), None, "") for part in (pixels[:64, :80], pixels[2:, 3:]))
    homography = np.eye(3)
    homography[:2, 2] = SHIFT
    return trace_case(random_model(preset), *images, homography, threshold)


@pytest.mark.parametrize("preset", ["micro", "loftr"])
def test_the_path_ends_at_the_matched_point(preset):
    trace = made(preset).trace
    assert len(trace.refined.offset) >= 10
    for index in range(len(trace.refined.offset)):
        path = study.path_of(trace, index)
        assert path.point_px == pytest.approx(trace.matches.points_1[index].tolist(), abs=1e-4)
        assert path.centre_px == pytest.approx(trace.matches.coarse_points_1[index].tolist())
        assert path.offset_px == tuple(trace.refined.offset[index].tolist())
        assert path.peak_px == pytest.approx(trace.refined.peak[index].tolist())
        (low_x, low_y), (high_x, high_y) = path.window_fine_cells
        assert ((low_x + high_x) / 2, (low_y + high_y) / 2) == path.fine_cell
        place = low_x + path.best_place[0], low_y + path.best_place[1]
        assert [2 * v for v in place] == pytest.approx([path.centre_px[k] + path.peak_px[k] for k in (0, 1)])
    assert f"coarse cell {path.cell}:" in path.lines() and f"({path.point_px[0]:.2f}, " in path.lines()


def test_a_path_can_start_at_any_cell():
    trace = made("micro").trace
    moved = CoarseMatches(torch.zeros(1).long(), torch.tensor([23]), torch.tensor([34]), torch.ones(1))
    with torch.inference_mode():
        refined = random_model("micro").refine(trace.encoded, moved)
    path = study.path_from(moved, refined, 10, 0)
    assert path.cell == 34 and path.column_row == (4, 3) and path.fine_cell == (16, 12)
    assert path.centre_px == (32, 24) and path.window_fine_cells == ((12, 8), (20, 16))
    assert path.point_px == pytest.approx((torch.tensor([32.0, 24.0]) + refined.offset[0]).tolist(), abs=1e-4)


def test_the_spread_of_a_heat_is_its_standard_deviation():
    even, one, two = torch.zeros(25), torch.full((25,), -torch.inf), torch.full((25,), -torch.inf)
    one[7], two[10], two[14] = 0.0, 0.0, 0.0  # one place; two in the middle row, 4 places of 2 px apart
    spread = study.heat_spread(torch.stack((even, one, two)))
    np.testing.assert_allclose(spread, [[8**0.5, 8**0.5], [0, 0], [4, 0]], atol=1e-5)


def test_a_path_that_is_not_there_is_named(case):
    with pytest.raises(ParameterError, match="no refined match number 5000"):
        study.path_of(case.trace, 5000)
    with pytest.raises(ParameterError, match="no refined match number 0"):
        study.path_of(made("one_conv").trace, 0)


def test_errors_are_found_minus_true_by_stage(case):
    errors = study.errors_of([case, case])
    matches = case.trace.matches
    count = len(matches.points_0)
    assert len(errors) == 2 * count and errors.case.tolist() == [0] * count + [1] * count
    expected = matches.points_1 - matches.points_0 - torch.tensor(SHIFT)
    np.testing.assert_allclose(errors.by_stage["refined"][:count], expected, atol=1e-4)
    np.testing.assert_allclose(errors.by_stage["coarse"], -errors.truth)
    assert errors.median("refined") == pytest.approx(float(np.median(np.hypot(*expected.numpy().T))), abs=1e-4)
    assert 0 < errors.near(6).sum() < errors.near(1000).sum() == len(errors)


def test_the_mean_of_a_whole_window_shrinks_by_the_even_share():
    grid = torch.linspace(-8, 8, 33, dtype=torch.float64)
    truth = torch.cartesian_prod(grid, grid)
    for even in (0.0, 0.2, 0.6):
        heat = study.planted_heat(truth, 9, even)
        np.testing.assert_allclose(heat.exp().sum(1), torch.ones(len(truth), dtype=torch.float64), atol=1e-6)
        np.testing.assert_allclose(study.expectation(heat), (1 - even) * truth, atol=1e-6)
    local = study.expectation(study.planted_heat(truth, 9, 0.2), 1) - truth
    assert 0.01 < local.abs().max() < 0.06
    np.testing.assert_allclose(study.expectation(study.planted_heat(truth, 9, 0.0), 1), truth, atol=1e-6)


def test_far_places_do_not_move_the_mean_around_the_peak():
    heat = torch.full((1, 81), -torch.inf)
    heat[0, 40], heat[0, 41], heat[0, 80] = np.log(0.5), np.log(0.2), np.log(0.3)
    np.testing.assert_allclose(study.expectation(heat, 1), torch.tensor([[2 * 0.2 / 0.7, 0.0]]), atol=1e-6)
    np.testing.assert_allclose(study.expectation(heat), torch.tensor([[2 * (0.2 + 4 * 0.3), 2 * 4 * 0.3]]), atol=1e-6)


def test_slopes_say_how_much_of_the_truth_is_found(case):
    errors = study.errors_of([case])
    for share in (1.0, 0.75):
        assert study.slope(share * errors.truth, errors) == pytest.approx(share)
    found = study.readings(errors)
    np.testing.assert_allclose(found[study.AS_READ], case.trace.refined.offset, atol=1e-4)
    assert np.abs(found[study.AROUND_PEAK] - case.trace.refined.peak.numpy()).max() <= 2


def test_published_cells_are_predictions_filled_up_with_truth():
    cells_1 = torch.full((2, 50), -1)
    cells_1[0, :30], cells_1[1, :20] = torch.arange(30) + 7, torch.arange(20) + 11
    generator = torch.Generator().manual_seed(0)

    def found(count: int) -> CoarseMatches:
        return CoarseMatches(*(torch.arange(count) for _ in range(3)), torch.full((count,), 0.5))

    for count, kept in ((0, 0), (25, 25), (45, 30), (80, 30)):
        matches, from_truth = study.published_cells(found(count), cells_1, 60, 30, generator)
        assert len(matches.cells_0) == 60 and int((~from_truth).sum()) == kept
        assert ((matches.confidence == 0) == from_truth).all()
        batch, cells_0 = matches.batch_index[from_truth], matches.cells_0[from_truth]
        assert (cells_1[batch, cells_0] == matches.cells_1[from_truth]).all() and set(batch.tolist()) == {0, 1}
        if count == 25:
            assert matches.cells_1[:25].tolist() == list(range(25))
    for total, truth in ((30, cells_1), (60, torch.full((2, 50), -1))):
        with pytest.raises(ParameterError, match="cannot be drawn"):
            study.published_cells(found(5), truth, total, 30, generator)


def test_kinds_follow_from_where_the_truth_lies():
    offset = torch.tensor([[0.0, 4.0], [4.1, 0.0], [1.0, 1.0], [-11.0, 3.0], [0.0, 40.0], [0.0, -3.0]])
    given = torch.tensor([True, True, False, False, False, True])
    assert list(study.kinds(offset, given).values()) == pytest.approx([2 / 6, 1 / 6, 1 / 6, 1 / 6, 1 / 6])
    assert study.kinds(offset[:3], False) == pytest.approx(dict(zip(study.KINDS, (0, 0, 2 / 3, 1 / 3, 0), strict=True)))
    matches = CoarseMatches(torch.tensor([1]), torch.tensor([2]), torch.tensor([5]), torch.ones(1))
    points_1 = torch.zeros(2, 4, 2, dtype=torch.float64)
    points_1[1, 2] = torch.tensor([10.5, 20.0])
    assert study.true_offset(matches, points_1, 3).tolist() == [[10.5 - 16, 20 - 8]]


def test_gradients_by_part_are_those_of_backward():
    torch.manual_seed(0)
    model = nn.ModuleDict({"a": nn.Linear(3, 3), "b": nn.Linear(3, 3), "none": nn.ReLU()})
    x = model["a"](torch.ones(1, 3)).relu()
    loss = (x**2).sum()
    lengths = study.gradient_by_part(model, loss)
    assert all(weight.grad is None for weight in model.parameters())
    assert study.gradient_to(x, loss) == pytest.approx(2 * float(x.detach().norm())) and set(lengths) == {"a", "b"}
    assert study.gradient_to(model["b"].weight, loss) == 0.0 == lengths["b"]
    loss.backward()
    expected = sum(float((weight.grad**2).sum()) for weight in model["a"].parameters()) ** 0.5
    assert lengths["a"] == pytest.approx(expected) and expected > 0


def test_the_cost_of_a_fine_transformer_counts_its_weights():
    for dim, heads in ((92, 4), (64, 4)):
        parameters, seconds = study.fine_transformer_cost(dim, heads, windows=2)
        assert parameters == 2 * (10 * dim**2 + 4 * dim) and 0 < seconds < 5
    with pytest.raises(ConfigError, match=r"92 does not split into model\.fine_heads 8"):
        study.fine_transformer_cost(92, 8)


def test_windows_show_cell_peak_point_and_truth(case):
    errors = study.errors_of([case])
    shown = figures.chosen_matches(case, errors, ranks=(1.0, 0.0))
    confidence = case.trace.matches.confidence
    assert confidence[shown[0]] == confidence.max() and confidence[shown[1]] == confidence.min()
    distance = np.abs(errors.truth).max(1)
    assert distance[shown[2]] == distance[distance < 8].max()
    figure = figures.draw_windows(case, shown)
    axes = np.array(figure.axes).reshape(3, 3)
    for column, index in enumerate(shown):
        coarse, truth = case.trace.matches.coarse_points_1[index].numpy(), errors.truth[index]
        ring = axes[1, column].lines[-1].get_xydata()[0]
        np.testing.assert_allclose(ring, coarse + truth, atol=1e-4)
        cross, ring, found = (line.get_xydata()[0] for line in axes[2, column].lines)
        np.testing.assert_allclose(cross, 0)
        np.testing.assert_allclose(ring, truth, atol=1e-4)
        np.testing.assert_allclose(found, case.trace.refined.offset[index], atol=1e-6)
        (arrow,) = (text for text in axes[2, column].texts if text.arrow_patch)
        np.testing.assert_allclose(arrow.xy, case.trace.refined.peak[index])
        drawn = axes[2, column].images[0]
        assert drawn.get_extent() == [-9, 9, 9, -9]
        np.testing.assert_allclose(drawn.get_array().ravel() ** 2, case.trace.refined.log_heat[index].exp(), atol=1e-6)
    assert figure_bytes(figure, "png") == figure_bytes(figures.draw_windows(case, shown), "png")


def test_errors_are_drawn_by_axis_and_as_shares(case):
    errors = study.errors_of([case])
    figure = figures.draw_errors(errors)
    legend = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    mean = errors.by_stage["refined"][errors.near(), 0].mean()
    assert f"refined: {mean:+.2f}".replace("-", "−") in legend[2]
    curve = figure.axes[2].lines[2]
    assert curve.get_xdata()[0] == pytest.approx(np.hypot(*errors.by_stage["refined"].T).min())
    assert curve.get_ydata()[-1] == 1 and f"median {errors.median('refined'):.2f}" in curve.get_label()


def test_readings_are_drawn_against_the_truth(case):
    grid = torch.linspace(-8, 8, 9, dtype=torch.float64)
    truth = torch.stack((grid, torch.zeros(9)), 1)
    many = study.errors_of([case] * 12)
    figure = figures.draw_readings(truth, 0.25, many)
    whole, around = figure.axes[0].lines[:2]
    np.testing.assert_allclose(whole.get_ydata(), -0.25 * grid, atol=1e-12)
    assert np.abs(around.get_ydata()).max() < 0.1
    names = [line.get_label() for line in figure.axes[1].lines[:3]]
    assert names == [study.WHOLE, study.AROUND_PEAK, study.AS_READ]
    for line in figure.axes[1].lines[:3]:
        off = study.readings(many)[line.get_label()][:, 0] - many.truth[:, 0]
        for x, y in zip(*line.get_data(), strict=True):
            here = many.near(8) & (np.abs(many.truth[:, 0] - x) <= 0.5) & (many.truth[:, 0] != x + 0.5)
            assert y == pytest.approx(np.median(off[here]))


def test_shares_of_cells_fill_their_bars():
    shares = {"one\nrule": study.kinds(torch.tensor([[0.0, 0.0], [0.0, 5.0]]), True)}
    offsets = {"one\nrule": torch.tensor([[0.0, 1.0], [0.0, -5.0]])}
    figure = figures.draw_cells(shares, offsets, {"5 × 5": 4.0})
    bars = [(bar.get_x(), bar.get_width()) for bar in figure.axes[0].patches]
    assert bars == [(0, 0.5), (0.5, 0.5), (1, 0), (1, 0), (1, 0)]
    assert {text.get_text() for text in figure.axes[0].texts} == {"50%"}
    curve, reach = figure.axes[1].lines
    assert curve.get_xydata().tolist() == [[1, 0.5], [5, 1]] and reach.get_xdata() == [4.0, 4.0]


def test_nothing_found_is_drawn_too():
    empty = made("micro", threshold=0.99)
    errors = study.errors_of([empty])
    assert len(errors) == 0 and figures.chosen_matches(empty, errors) == []
    assert len(figure_bytes(figures.draw_windows(empty, []))) > 1000
