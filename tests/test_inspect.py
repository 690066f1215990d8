"""The worst, the median and the best of rows; the pair behind one drawn; the widget follows its controls."""

import math
import time
from dataclasses import dataclass, replace

import numpy as np
import pytest

from microloftr.errors import ParameterError
from microloftr.evaluation import inspection, metric_checks, metrics
from microloftr.evaluation import kept_rows as kept_rows_module
from microloftr.evaluation.kept_rows import KeptRows, explore_rows, kept_rows
from microloftr.evaluation.metric_checks import FAULTS, Judged, broken, disagreement
from microloftr.evaluation.predict_and_score import predict_and_score
from microloftr.evaluation.protocols import MadePairs
from microloftr.evaluation.score_rows import KeptRow, read_kept
from microloftr.views import inspect_figures
from microloftr.views.explorers.inspect import View, draw_explorer, explore
from microloftr.views.figures import figure_bytes
from microloftr.views.inspect_figures import RIGHT, WRONG, Opened, Way, draw_opened, pick
from microloftr.views.metric_figures import draw_recall, recall_curve


@dataclass(frozen=True)
class Row:
    id: str
    group: str
    stage: str
    error_px: float
    precision_3: float
    matches: int
    number: int = 0
    modality: str = "sem"


ROWS = [
    Row("a", "easy", "coarse", 4.0, 0.5, 10),
    Row("a", "easy", "fine", 0.5, 0.9, 10),
    Row("b", "easy", "coarse", math.inf, 0.0, 3),
    Row("b", "easy", "fine", math.inf, 0.0, 3),
    Row("c", "hard", "coarse", 2.0, 0.6, 12),
    Row("c", "hard", "fine", 1.0, 0.8, 12),
    Row("d", "hard", "coarse", math.inf, 0.1, 9),
    Row("d", "hard", "fine", 6.0, math.nan, 9),
]
TWO_KINDS = [replace(row, modality="light_sheet" if row.id in "bc" else "sem") for row in ROWS]


def check_picks() -> None:
    picked = {which: pick(ROWS, which, stage="fine").id for which in ("worst", "median", "best")}
    assert picked == {"worst": "b", "median": "d", "best": "a"}  # ∞, 6, 1, 0.5: of two in the middle the worse
    assert pick(ROWS, "worst", stage="coarse").id == "b"  # both without a transform: fewer matches are worse
    assert pick(ROWS, "best", stage="coarse").id == "c"
    assert pick(ROWS, "worst", stage="fine", group="hard").id == "d"
    by_share = {which: pick(ROWS, which, by="precision_3", stage="fine").id for which in ("worst", "best")}
    assert by_share == {"worst": "d", "best": "a"}  # what is not known is worst
    by_count = {which: pick(ROWS, which, by="matches", stage="fine").id for which in ("worst", "best")}
    assert by_count == {"worst": "b", "best": "c"}  # the worst has the fewest
    assert pick(TWO_KINDS, "worst", stage="fine", modality="sem").id == "d"


def test_the_worst_the_median_and_the_best():
    check_picks()


NOT_MATCHES = inspect_figures.MORE_IS_BETTER - {"matches"}


@pytest.mark.parametrize(
    ("name", "wrong"),
    [("MORE_IS_BETTER", set()), ("MORE_IS_BETTER", {"error_px"}), ("MORE_IS_BETTER", NOT_MATCHES)],
)
def test_an_order_broken_on_purpose_is_caught(name, wrong, monkeypatch):
    monkeypatch.setattr(inspect_figures, name, wrong)
    with pytest.raises(AssertionError):
        check_picks()


@pytest.mark.parametrize(
    ("which", "asked", "said"),
    [
        ("middle", {"stage": "fine"}, "no 'middle' pair"),
        ("worst", {"stage": "final"}, "no row"),
        ("worst", {"stage": "fine", "group": "extreme"}, "no row"),
        ("worst", {"stage": "fine", "by": "colour"}, "no number"),
        ("worst", {"stage": "fine", "modality": "tem"}, "no row"),
    ],
)
def test_what_there_is_not_is_refused(which, asked, said):
    with pytest.raises(ParameterError, match=said):
        pick(ROWS, which, **asked)


def opened(row: Row) -> Opened:
    generator = np.random.default_rng(ord(row.id))
    image = (generator.random((60, 80)) * 255).astype(np.uint8)
    truth = np.array([[1, 0, 5.0], [0, 1, 0], [0, 0, 1]])
    points = generator.uniform(10, 50, (8, 2))
    off = np.array([[0, 0]] * 5 + [[2, 0]] * 2 + [[20, 0]])
    ways = {
        "coarse": Way(points, points + [5, 0] + off, truth, row.error_px),
        "fine": Way(points[:4], points[:4] + [5, 0], None, math.inf),
    }
    return Opened(row.id, row.group, "sem", image, image[:, :70], truth, ways, turns=1)


def test_points_are_coloured_by_their_error():
    figure = draw_opened(opened(ROWS[0]), "coarse")
    first, second, by_estimate, by_truth = figure.axes
    colours = [tuple(np.round(c, 2)) for c in first.collections[0].get_facecolors()]
    assert len(set(colours[:5])) == 1 and len(set(colours)) == 3 and colours[7] not in colours[:7]
    np.testing.assert_allclose(second.collections[-1].get_offsets()[0], opened(ROWS[0]).ways["coarse"].points_1[0])
    assert len(second.collections[0].get_offsets()) == 1  # a ring where the wrong one should be
    assert second.get_title() == "image_1, turned 90°" and RIGHT != WRONG
    assert "8 matches, 88% to 3 px" in figure.get_suptitle() and "coarse only 4.00 px" in figure.get_suptitle()
    assert len(by_estimate.images) == len(by_truth.images) == 1
    failed = draw_opened(opened(ROWS[0]), "fine")
    assert [text.get_text() for text in failed.axes[2].texts] == ["no transform"]
    with pytest.raises(ParameterError, match="no stage"):
        draw_opened(opened(ROWS[0]), "final")


def test_the_static_twin_shows_what_the_view_says():
    figure = draw_explorer(ROWS, opened, View("worst", "hard", "coarse", "precision_3"))
    assert figure.get_suptitle().startswith("worst by share of matches to 3 px (0.1): hard, sem; shown: coarse only")
    again = draw_explorer(ROWS, opened, View("worst", "hard", "coarse", "precision_3"))
    other = draw_explorer(ROWS, opened, View("best", "hard", "coarse", "precision_3"))
    assert figure_bytes(figure, "png") == figure_bytes(again, "png") != figure_bytes(other, "png")


def test_the_widget_follows_its_controls_and_keeps_opened_pairs():
    asked = []

    def open_row(row: Row) -> Opened:
        asked.append(row.id)
        return opened(row)

    box = explore(ROWS, open_row, View(stage="coarse"))
    picture, first = box.children[-1], box.children[-1].value
    assert box.view == View(stage="coarse") and asked == ["b"]
    box.controls["which"].value = "best"
    assert box.view.which == "best" and picture.value != first and asked == ["b", "c"]
    box.controls["which"].value = "worst"
    assert picture.value == first and asked == ["b", "c"]
    box.controls["group"].value = "hard"
    assert asked[-1] == "d" and box.view.group == "hard"
    box.controls["by"].value = "matches"
    assert box.view.by == "matches"
    assert [name for _, name in box.controls["by"].options] == ["error_px", "precision_3", "matches"]


def test_the_widget_filters_by_modality_and_says_where_there_is_no_pair():
    box = explore(TWO_KINDS, opened, View(stage="coarse"))
    assert [name for _, name in box.controls["modality"].options] == ["all", "sem", "light_sheet"]
    box.controls["modality"].value = "light_sheet"
    assert box.view.modality == "light_sheet" and not box.message.value
    box.controls["group"].value, shown = "hard", box.view
    assert box.view.group == "hard" != shown.group
    only_sem = explore([row for row in TWO_KINDS if row.id != "c"], opened, View(stage="coarse"))
    only_sem.controls["modality"].value = "light_sheet"
    picture = only_sem.children[-1].value
    only_sem.controls["group"].value = "hard"  # no pair of this group is of that modality: the picture stays
    assert "no row" in only_sem.message.value and only_sem.children[-1].value == picture
    assert only_sem.view.group == "all"
    only_sem.controls["modality"].value = "sem"
    assert not only_sem.message.value and only_sem.view == View("worst", "hard", "coarse", "error_px", "sem")


def test_the_error_is_called_what_the_protocol_judges_by():
    def of_the_overlap(row: Row) -> Opened:
        return replace(opened(row), error=inspect_figures.ERRORS["overlap"])

    title = draw_explorer(ROWS, of_the_overlap, View(stage="coarse")).get_suptitle()
    assert title.startswith("worst by error over the overlap (inf)") and "corner" not in title
    assert draw_explorer(ROWS, opened, View(stage="coarse")).get_suptitle().startswith("worst by corner error (inf)")


def test_it_answers_in_time():
    box = explore(ROWS, opened, View(stage="coarse"))
    started = time.process_time()
    box.controls["which"].value = "median"
    assert time.process_time() - started < 1  # seconds of this process alone


def judged() -> list[Judged]:
    generator, pairs = np.random.default_rng(0), []
    for number in range(6):
        truth = np.array([[1, 0.1, 4], [-0.1, 1, 2], [1e-4, 0, 1]])
        estimate = truth @ np.array([[1, 0, 0.9 * number], [0, 1 + 0.01 * number, 0], [0, 0, 1.0]])
        points_0 = generator.uniform(0, 60, (30, 2))
        points_1 = metrics.apply_homography(truth, points_0) + generator.normal(0, 0.5 + number, (30, 2))
        pairs.append(Judged(estimate if number < 5 else None, truth, (64, 48), points_0, points_1))
    return pairs


def test_our_scores_are_those_of_other_libraries():
    assert max(disagreement(judged(), [1.0, 3.0, 5.0, 10.0]).values()) < 1e-6
    with pytest.raises(ParameterError, match="one pair"):
        disagreement([], [1.0])


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_shows_and_goes_again(fault):
    with broken(fault):
        assert max(disagreement(judged(), [1.0, 3.0, 5.0, 10.0]).values()) > 1e-3
    assert max(disagreement(judged(), [1.0, 3.0, 5.0, 10.0]).values()) < 1e-6


def test_a_fault_goes_also_after_an_error_and_unknown_ones_are_refused():
    right = metrics.auc
    with pytest.raises(ZeroDivisionError), broken("AUC: failures dropped"):
        assert metrics.auc is not right
        raise ZeroDivisionError
    assert metrics.auc is right
    with pytest.raises(ParameterError, match="no fault"), broken("of the moon"):
        raise AssertionError


def test_no_matches_at_all_have_no_precision_elsewhere_either():
    empty = np.zeros((0, 2))
    none = Judged(None, np.eye(3), (8, 8), empty, empty)
    assert metric_checks.precision_elsewhere(none, [1, 3]).tolist() == [0, 0]
    assert metric_checks.corner_error_elsewhere(none) == np.inf and metric_checks.auc_elsewhere([np.inf], 3) == 0


def test_the_curve_is_the_one_whose_area_is_the_score():
    for errors in ([0.5, 2.0, np.inf], [4.0], [0.1, 0.2, 9.0, np.inf]):
        x, y = recall_curve(errors, 3.0)
        assert np.trapezoid(y, x) / 3 == pytest.approx(metrics.auc(errors, [3.0])[0])
    figure = draw_recall([0.5, 2.0, np.inf], 3.0, {"a": [1.0, np.inf], "b": [0.2, 0.4]})
    assert figure.axes[0].get_title() == "3 pairs, 1 failed: AUC@3 = 0.50"
    assert [line.get_label() for line in figure.axes[1].lines][:2] == ["a (2 pairs)", "b (2 pairs)"]
    assert max(figure.axes[1].lines[0].get_ydata()) == 0.5


def test_the_rows_of_evaluate_are_kept_and_their_pairs_matched_when_they_are_opened(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MICROLOFTR_PAIRS", "")
    protocols = [MadePairs(level, limit=2) for level in ("easy", "extreme")]
    names = ("rootsift", "phase_correlation")
    predict_and_score(names, protocols, runs=tmp_path / "runs", results=tmp_path, command="x")
    rows = read_kept(tmp_path / "evaluate_pairs.csv")
    assert len(rows) == 2 * 2 * 2 and {row.matcher for row in rows} == set(names)
    assert [(row.group, row.number) for row in rows if row.matcher == "rootsift"] == [
        ("easy", 0), ("easy", 1), ("extreme", 0), ("extreme", 1)
    ]  # fmt: skip
    by_name = {protocol.name: protocol for protocol in protocols}
    monkeypatch.setattr(kept_rows_module, "_protocol", lambda name, split: by_name[name])
    table = kept_rows("evaluate", "rootsift", folder=tmp_path)
    row = table.rows[1]
    shown = table.open(row)
    assert shown.id == protocols[0][1].id and len(shown.ways["final"].points_0) == row.matches
    assert shown.ways["final"].error_px == pytest.approx(row.error_px, rel=1e-3)
    box = explore_rows(folder=tmp_path)
    assert list(box.choice.options) == ["made pairs, rootsift", "made pairs, phase_correlation"]
    first = box.children[1]
    box.choice.value = "made pairs, phase_correlation"
    assert box.children[1] is not first and box.children[1].view.stage == "final"
    box.choice.value = "made pairs, rootsift"
    assert box.children[1] is first  # what was opened is kept
    with pytest.raises(ParameterError, match="no rows of orb"):
        kept_rows("evaluate", "orb", folder=tmp_path)
    with pytest.raises(ParameterError, match="holds no rows"):
        kept_rows("evaluate_real", "rootsift", folder=tmp_path)


def test_a_row_of_a_record_is_opened_by_the_command(tmp_path, monkeypatch):
    rows = [KeptRow("rootsift", "easy", "sem", 0, 5, 1.0), KeptRow("rootsift", "hard", "sem", 0, 5, 2.0)]
    asked = []
    monkeypatch.setattr(inspection, "predictions_folder", lambda: tmp_path)
    monkeypatch.setattr(inspection, "kept_rows", lambda *names: asked.append(names) or KeptRows(rows, opened))
    quick = MadePairs("easy", limit=1)
    found = inspection.predicted("rootsift", MadePairs("easy", limit=2), quick, True)
    assert asked == [("evaluate", "rootsift")] and [row.group for row in found.rows] == ["easy"]
    found = inspection.predicted("rootsift", MadePairs("easy", limit=2), quick, False)
    assert len({row.id for row in found.rows}) == 1 and len(asked) == 1  # matched on the spot
