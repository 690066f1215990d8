"""What the coarse matching's rules do is counted rightly, and the figures say what was counted."""

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg

from microloftr.data.pairs import PairBatch
from microloftr.images import Image
from microloftr.model.coarse_matching import inner, select
from microloftr.model.weights import random_model
from microloftr.training.supervision import supervise
from microloftr.views import coarse_cases, coarse_figures, coarse_study
from microloftr.views.case import Case, trace_case

SHIFT = np.array([[1.0, 0, -16.0], [0, 1, 8.0], [0, 0, 1]])


def texture(height: int, width: int, seed: int = 0) -> np.ndarray:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 1, height // 8, width // 8, generator=generator)
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)[0, 0].numpy()


def make_case(seed: int = 0) -> Case:
    pixels = texture(80, 96, seed)
    moved = np.ascontiguousarray(np.roll(pixels, (8, -16), (0, 1))[:, :88])
    return trace_case(random_model("micro"), Image(pixels, None, "a"), Image(moved, None, "b"), SHIFT, threshold=0.0)


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    return [make_case(0), make_case(1)]


def grids(case: Case) -> list[tuple[int, int]]:
    return [tuple(coarse.shape[-2:]) for coarse in (case.trace.encoded.coarse_0, case.trace.encoded.coarse_1)]


# --- counting


@pytest.mark.parametrize(("threshold", "border"), [(0.0, 0), (0.0, 1), (0.0, 2), (0.0005, 0), (0.0005, 1)])
def test_the_rules_are_those_of_select(cases, threshold, border):
    table = coarse_study.candidates(cases)
    kept = table.kept(threshold, border=border)
    expected = [select(case.trace.log_confidence, *grids(case), threshold, border) for case in cases]
    assert 4 < kept.sum() == sum(len(found.cells_1) for found in expected) < len(kept)
    assert table.cells_1[kept].tolist() == torch.cat([found.cells_1 for found in expected]).tolist()
    np.testing.assert_array_equal(table.pair[kept], np.repeat([0, 1], [len(found.cells_1) for found in expected]))
    assert table.kept(threshold, mutual=False, border=border).sum() > kept.sum()


def test_rings_count_cells_to_the_nearest_edge(cases):
    coarse = cases[0].trace.encoded.coarse_0
    ring = coarse_study.rings(torch.arange(120), coarse)
    assert ring.reshape(10, 12)[0].tolist() == [0] * 12 and ring.reshape(10, 12)[4].tolist() == [
        *range(5),
        *[4] * 2,
        *range(4, -1, -1),
    ]
    for border in (0, 1, 3):
        assert torch.equal(ring >= border, inner((10, 12), border)[0])


def test_right_means_within_a_cell_of_the_truth_and_sharing_is_found():
    table = coarse_study.Candidates(
        pair=np.array([0, 0, 0, 1]), cells_1=np.array([5, 5, 6, 5]), confidence=np.array([0.9, 0.5, 0.2, 0.1]),
        error=np.array([0.0, 7.9, 8.1, 50.0]), mutual=np.array([True, False, True, True]), ring=np.array([0, 1, 2, 3]),
    )  # fmt: skip
    everything = table.kept(mutual=False)
    assert table.share_right(everything) == 0.5 and table.sharing(everything) == 2  # not cell 5 of the other pair
    assert table.kept().tolist() == [True, False, True, True] and table.sharing(table.kept()) == 0
    assert table.kept(0.2, mutual=False).tolist() == [True, True, False, False]
    assert table.kept(mutual=False, border=2).tolist() == [False, False, True, True]
    assert np.isnan(table.share_right(table.kept(0.95)))


def test_errors_are_distances_from_the_truth(cases):
    case = cases[0]
    cells_0 = torch.tensor([13, 30])  # at (8, 8) and (48, 16), so in image_1 at (−8, 16) and (32, 24)
    found = coarse_study.errors(case, cells_0, torch.tensor([[-8.0, 16.0], [35.0, 28.0]]))
    np.testing.assert_allclose(found, [0, 5], atol=1e-5)


# --- windows


def test_padding_changes_cut_windows_and_no_others(cases):
    table = coarse_study.windows(cases)
    whole = table.cut == 0
    assert 4 < whole.sum() < len(whole) - 4
    np.testing.assert_allclose(table.padded[whole], table.masked[whole], atol=1e-4)
    assert (np.abs(table.padded - table.masked)[~whole] > 1e-3).any()
    assert (table.ring[~whole] == 0).all()
    np.testing.assert_allclose(np.unique(table.cut)[-1], 1 - 25 / 81, atol=1e-6)  # the top-left corner keeps 5 × 5


def test_lost_counts_right_matches_near_an_edge():
    values = np.array([1.0, 2.0, 3.0, 9.0])
    table = coarse_study.Windows(
        pair=np.array([0, 0, 1, 1]), ring=np.array([0, 1, 2, 0]), cut=np.zeros(4), coarse=values, masked=values,
        padded=values,
    )  # fmt: skip
    assert table.lost(0) == 0 and table.lost(1) == pytest.approx(1 / 3) and table.lost(2) == pytest.approx(2 / 3)
    assert table.lost(2, np.array([2, 2, 0])) == pytest.approx(1 / 3)  # the rows as often as they are named
    assert np.isnan(table.lost(1, np.array([3])))


def test_a_transform_of_the_matches_inside_a_border(cases, monkeypatch):
    seen = []
    monkeypatch.setattr(coarse_study.Matches, "estimate", lambda self, family: seen.append((self, family)))
    for border in (0, 2):
        assert coarse_study.transform_of(cases[0], border) is None
    (every, family), (inside, _) = seen
    expected = select(cases[0].trace.log_confidence, *grids(cases[0]), 0.0, 2)
    assert family == "homography" and len(every) > len(inside) == len(expected.cells_0) > 2
    assert every.size_0 == (96, 80) and every.size_1 == (88, 80)
    assert (inside.points_0 >= 16).all() and (inside.points_0 <= [72, 56]).all()


# --- ties


def test_ties_are_seen_and_the_first_of_a_row_is_what_mask_max_gives():
    confidence = torch.tensor([[[0.5, 0.5, 0.1], [0.2, 0.1, 0.4], [0.5, 0.3, 0.2]]])
    mask = coarse_study.mutual_mask(confidence)
    assert mask[0].tolist() == [[True, True, False], [False, False, True], [True, False, False]]
    rows, columns = coarse_study.first_of_row(mask[0])
    assert rows.tolist() == [0, 1, 2] and columns.tolist() == [0, 2, 0]
    ours = select(confidence.log(), (1, 3), (1, 3), 0.0)
    assert ours.cells_0.tolist() == [0, 1] and ours.cells_1.tolist() == [0, 2]


def test_tied_marks_are_counted_once(cases):
    class Fixed:
        class trace:
            log_confidence = torch.tensor([[[0.5, 0.5, 0.1], [0.2, 0.1, 0.4], [0.5, 0.3, 0.2]]]).log()

    assert coarse_study.ties([Fixed, Fixed], torch.float32, 0.0) == (8, 6)
    assert coarse_study.ties([Fixed], torch.float32, 0.45) == (3, 3)
    assert coarse_study.ties(cases, torch.float32, 0.0)[1] == 0
    Fixed.trace.log_confidence = torch.tensor([[[0.5, 0.5005], [0.1, 0.2]]]).log()  # one number to bfloat16
    assert coarse_study.ties([Fixed], torch.float32, 0.0) == (1, 0)
    assert coarse_study.ties([Fixed], torch.bfloat16, 0.0) == (2, 2)


def test_cases_with_ties_have_them(cases):
    case = cases[0]
    made = coarse_cases.tie_cases(case)
    with torch.inference_mode():
        tied = {name: case.model.coarse_matching(*maps).log_confidence[0] for name, maps in made.items()}
    constant, in_1, in_0 = tied.values()
    assert (constant == constant[0, 0]).all() and constant.shape == (6, 6)
    assert torch.equal(in_1[:, 1], in_1[:, 3]) and not torch.equal(in_1[1], in_1[3])
    assert torch.equal(in_0[1], in_0[3]) and not torch.equal(in_0[:, 1], in_0[:, 3])


# --- cases


def test_a_small_case_has_the_truth_that_it_says():
    image = Image(texture(160, 160), None, "a")
    made = coarse_cases.small_case(random_model("micro"), image, (40, 32), 64, 90.0, (63.0, 0.0))
    np.testing.assert_array_equal(made.image_0.pixels, image.pixels[32:96, 40:104])
    np.testing.assert_allclose(made.image_1.pixels, np.rot90(made.image_0.pixels, -1), atol=1e-4)
    np.testing.assert_allclose(made.true_points(np.array([[0.0, 0.0]])), [[63, 0]], atol=1e-9)


def test_pairs_of_nothing_share_nothing():
    images = np.stack([np.full((320, 320), k * 20, np.uint8) + np.arange(320, dtype=np.uint8) % 16 for k in range(6)])
    pairs = coarse_cases.nothing_pairs(images, images[::-1], columns=2)
    assert len(pairs) == 2 + 2 + 6 and {x.shape for pair in pairs.values() for x in pair} == {(160, 160)}
    assert all(x.dtype == np.float32 and x.flags.c_contiguous for pair in pairs.values() for x in pair)
    left, right = pairs["one column 2"]
    np.testing.assert_array_equal(left[:, -1], right[:, 0])
    np.testing.assert_array_equal(right, images[1, 80:240, 159:319] / np.float32(255))
    assert np.ptp(pairs["both blank"][0]) == 0
    np.testing.assert_array_equal(pairs["unrelated 6"][1], images[::-1][0, 80:240, 80:240] / np.float32(255))


# --- figures


def test_the_matrix_is_drawn_with_its_true_pairs(cases):
    truth = supervise(cases[0].batch).cells_1[0].numpy()
    figure = coarse_figures.draw_matrix(cases[0], truth)
    matrix = figure.axes[2]
    np.testing.assert_allclose(matrix.images[0].get_array(), cases[0].trace.log_confidence[0] / np.log(10), rtol=1e-5)
    columns, rows = matrix.lines[0].get_data()
    np.testing.assert_array_equal(truth[rows], columns)
    assert len(rows) == (truth >= 0).sum() > 40 and f"the {len(rows)} true pairs" in matrix.get_title()
    assert [axes.get_title() for axes in figure.axes[:2]] == ["image_0: 10 × 12 cells", "image_1: 10 × 11 cells"]


def test_curves_fall_and_are_the_counts(cases):
    table = coarse_study.candidates(cases)
    left, right = coarse_figures.draw_rules(table, 0.1, 0.2).axes
    for line, (rule, _) in zip(left.lines, coarse_figures.RULES.values(), strict=False):
        thresholds, counts = line.get_data()
        assert counts[20] == table.kept(thresholds[20], **rule).sum() / 2 and (np.diff(counts) <= 0).all()
    line = right.lines[1]
    assert line.get_ydata()[0] == pytest.approx(table.share_right(table.kept(line.get_xdata()[0])))
    marks = [line.get_xdata()[0] for line in left.lines[3:]]
    assert marks == [0.2, 0.1]


def test_border_bars_are_the_counts_and_medians():
    masked = np.array([1.0, 3.0, 0.5, 0.25, 0.75, 7.0])
    table = coarse_study.Windows(
        pair=np.array([0, 0, 0, 1, 1, 1]), ring=np.array([0, 0, 1, 2, 5, 0]), cut=np.array([0.4, 0, 0, 0, 0, 0.1]),
        coarse=np.array([1.0, 2.0, 3.0, 4.0, 5.0, 20.0]), masked=masked, padded=masked + 1,
    )  # fmt: skip
    first, second, third, wrong = coarse_figures.draw_border(table, rings=3).axes
    assert [bar.get_height() for bar in first.patches] == [1.0, 0.5]  # right matches a pair
    assert second.lines[0].get_ydata().tolist() == [2.0, 0.5, 0.5] and second.lines[1].get_ydata()[2] == 4.5
    assert [bar.get_height() for bar in third.patches] == [1.0, 2.0, 3.0]  # cut and masked, cut and padded, whole
    np.testing.assert_allclose(wrong.lines[0].get_ydata(), [100 / 3, 0])


def test_marks_of_both_rules_stand_on_their_cells():
    tied = torch.tensor([[[0.5, 0.5, 0.1], [0.2, 0.1, 0.4], [0.5, 0.3, 0.2]]]).log()
    (axes,) = coarse_figures.draw_ties({"tied": tied}, 0.3).axes
    published, ours = (set(zip(*line.get_data(), strict=True)) for line in axes.lines)
    assert {tuple(map(int, place)) for place in published} == {(0, 0), (2, 1), (0, 2)}
    assert {tuple(map(int, place)) for place in ours} == {(0, 0), (2, 1)}
    assert [text.get_text() for text in axes.texts] == [".50", ".50", ".40", ".50"]


def test_pairs_of_nothing_are_drawn_with_what_came_of_them():
    blank = np.zeros((16, 16), np.float32)
    rows = [
        coarse_figures.Nothing("blank", blank, blank, 0, False),
        coarse_figures.Nothing("alike", blank, blank, 46, True),
    ]
    figure = coarse_figures.draw_nothing(rows)
    FigureCanvasAgg(figure).draw()
    assert [axes.get_title() for axes in figure.axes] == [
        "blank",
        "alike",
        "0 matches,\nno transform",
        "46 matches,\na transform",
    ]


def test_a_pair_with_no_truth_trains_without_nan():
    from microloftr.training.step import LossWeights, pair_loss

    far = torch.eye(3, dtype=torch.float64)[None].repeat(2, 1, 1)
    far[:, 0, 2] = 1e4
    zeros, images = torch.zeros(2), torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    model = random_model("micro")
    batch = PairBatch(images, images, far, torch.zeros(2, 2, 2, 2), zeros, zeros, zeros)
    step = pair_loss(model, batch, LossWeights(), torch.Generator().manual_seed(0))
    step.loss.backward()
    assert torch.isfinite(step.loss) and step.parts["coarse"] == 0 and step.parts["matchability"] > 0
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
