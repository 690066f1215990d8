"""Before refinement and after it: planted points scored by hand, the network's own points, paired intervals, files."""

import inspect
import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image as Picture
from scipy.spatial.transform import Rotation

from microloftr.__main__ import main
from microloftr.errors import ParameterError
from microloftr.evaluation import evaluate, inspection, metrics, metrics_pose, stage_scores, stage_summary, stages
from microloftr.evaluation.inspection import of_predictions, reopened
from microloftr.evaluation.pair import Pair
from microloftr.evaluation.predict import predict
from microloftr.evaluation.predict_and_score import further_words, predict_and_score
from microloftr.evaluation.predictions import load_predictions
from microloftr.evaluation.protocols import FolderPairs, MadePairs
from microloftr.evaluation.score import score_pairs
from microloftr.evaluation.stage_pairs import PairsOfSeed, drawn_pairs, each_before_any_again, turned_pair
from microloftr.evaluation.stage_rows import read_rows, read_short
from microloftr.evaluation.stage_scores import Network, Points, StageScore, runner_of, score_stages
from microloftr.evaluation.stage_summary import NUMBERS, summarise_part, verdict
from microloftr.evaluation.summary import PairScore, summarise
from microloftr.evaluation.tables_stages import loaded, stages_modalities, stages_table
from microloftr.images import read_image
from microloftr.matches import Matches
from microloftr.matching import Matcher
from microloftr.registration.families import move_points
from microloftr.results import read_result, results_folder

SHIFT = np.array([[1, 0, 3.0], [0, 1, 0], [0, 0, 1]])  # 3 px to the right: never half a cell


def test_the_package_offers_the_one_function_and_stays_light():
    code = """
import sys
import microloftr.evaluation as package
assert "torch" not in sys.modules
from microloftr.evaluation import evaluate
import microloftr.evaluation.predict_and_score, microloftr.evaluation.stages as stages
assert evaluate is stages.evaluate is package.evaluate  # no module of the package goes by that name
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    assert list(inspect.signature(evaluate).parameters)[:4] == ["matcher", "dataset", "n_samples", "seed"]
    with pytest.raises(ImportError):
        from microloftr.evaluation import no_such_name  # noqa: F401


def texture(seed: int, height: int = 96, width: int = 112) -> np.ndarray:
    small = torch.rand(1, 1, height // 8, width // 8, generator=torch.Generator().manual_seed(seed))
    pixels = torch.nn.functional.interpolate(small, (height, width), mode="bicubic").clamp(0, 1)[0, 0]
    return (pixels * 255).byte().numpy()


def a_pair(seed: int = 0, source: str = "s", turns: int = 0) -> Pair:
    """A texture and its part from column 16 on, turned by quarters."""
    image = texture(seed)
    moved = np.ascontiguousarray(np.rot90(image[:, 16:], -turns))
    back = np.array([[1, 0, -16.0], [0, 1, 0], [0, 0, 1]])
    height = len(image)
    turn = [np.eye(3), [[0, -1, height - 1], [1, 0, 0], [0, 0, 1]]][turns]
    homography = np.array(turn) @ back
    return Pair(f"p{seed}", "g", source, image, moved, homography, 0.0, image.shape[::-1], moved.shape[::-1], "sem")


class Oracle:
    """Knows the pairs' truth: four right matches and many wrong, or none at all."""

    def __init__(self, pairs: list[Pair]) -> None:
        self.pairs = {pair.image_0.tobytes(): pair for pair in pairs}

    def match(self, image_0: np.ndarray, image_1: np.ndarray) -> Matches:
        pair = self.pairs[image_0.tobytes()]
        y, x = np.mgrid[20:80:8, 40:100:8]
        points_0 = np.stack((x.ravel(), y.ravel()), 1).astype(float)
        points_1 = move_points(points_0, pair.homography)
        return Matches(points_0, points_1, np.ones(len(points_0)), pair.size_0, pair.size_1)


@pytest.fixture(scope="module")
def micro() -> Matcher:
    return Matcher.from_pretrained("micro", device="cpu", search=False)


def planted() -> tuple[Pair, dict[str, Points]]:
    """Seven matched cells of a 64×64 pair shifted by 3 px: five right, one a cell beside, one 40 px off."""
    blank = np.zeros((64, 64), np.uint8)
    pair = Pair("p", "easy", "s", blank, blank, SHIFT, 0.0, (64, 64), (64, 64), "sem")
    points_0 = np.array([[8, 8], [16, 8], [24, 40], [32, 48], [8, 48], [16, 24], [8, 16.0]])
    coarse = points_0.copy()
    coarse[5] += [8, 0]
    coarse[6] += [40, 0]
    fine = points_0 + [3, 0]
    fine[4] += [0, 0.5]
    fine[5] = points_0[5] + [6, 0]
    fine[6] = coarse[6]
    return pair, {"coarse": Points(points_0, coarse, 0.1), "fine": Points(points_0, fine, 0.3)}


def check_planted() -> None:
    pair, found = planted()
    coarse, fine = score_stages("m", pair, found, 640)
    # the truth lies 3 px right of the centre, in the same cell: five of seven in the true cell, a sixth beside it
    assert (coarse.exact, coarse.beside, coarse.near) == (pytest.approx(5 / 7), pytest.approx(6 / 7), 6)
    assert coarse.mean_offset == pytest.approx((5 * 3 + 5) / 6) and coarse.median_offset == 3
    # refined: four to the pixel, one half a pixel low, one 3 px too far (still the neighbour's cell), one lost
    assert fine.mean_offset == pytest.approx((0.5 + 3) / 6) and fine.median_offset == 0 and fine.near == 6
    assert (fine.exact, fine.beside) == (pytest.approx(5 / 7), pytest.approx(6 / 7))
    assert (coarse.precision_1, fine.precision_1) == (0, pytest.approx(5 / 7))
    assert (coarse.precision_5, fine.precision_5) == (
        pytest.approx(5 / 7),
        pytest.approx(6 / 7),
    )  # (5 px is not below 5)
    # of the 8×8 cells all have their partner in the same place: five are among the matches
    assert coarse.recall == fine.recall == pytest.approx(5 / 64)
    assert (coarse.matches, coarse.seconds, fine.seconds) == (7, 0.1, 0.3) and math.isnan(coarse.cells)
    assert fine.error_px < 1.5 < coarse.error_px < 4.5


def test_planted_points_by_hand():
    check_planted()


FAULTS = {
    "cells named by their corner": ("cell_of", lambda p, s: np.floor(np.asarray(p) / 8)),
    "every match is near": ("BESIDE", 100.0),
    "half a cell is near": ("BESIDE", 4.0),
    "cells of 16 px": ("COARSE_STRIDE", 16),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_score_broken_on_purpose_is_caught(fault, monkeypatch):
    name, broken = FAULTS[fault]
    monkeypatch.setattr(stage_scores, name, broken)
    with pytest.raises(AssertionError):
        check_planted()


def test_no_matches_are_a_failure_and_no_error():
    pair, _ = planted()
    none = np.zeros((0, 2))
    (score,) = score_stages("m", pair, {"final": Points(none, none, 0.1)}, 640)
    assert score.error_px == math.inf and score.exact == score.beside == score.recall == score.matches == 0
    assert math.isnan(score.mean_offset)
    told = summarise_part([score, replace(score, source="t")], 20)["final"]
    assert told["failures"] == 1 and told["auc_10"] == 0 and told["mean_offset"] is None


def test_the_network_alone_says_what_the_model_says(micro):
    pair = a_pair()
    found = Network(micro.model, 0.0)(pair)
    images = (torch.from_numpy(x).float()[None, None] / 255 for x in (pair.image_0, pair.image_1))
    with torch.inference_mode():
        said = micro.model(*images, threshold=0.0)
    order = torch.argsort(-said.confidence, stable=True)
    for stage, points in (("coarse", said.coarse_points_1), ("fine", said.points_1)):
        np.testing.assert_allclose(found[stage].points_0, said.points_0[order].numpy(), atol=1e-4)
        np.testing.assert_allclose(found[stage].points_1, points[order].numpy(), atol=1e-4)
    assert found["fine"].seconds >= found["coarse"].seconds > 0
    matches = micro.match(pair.image_0, pair.image_1)
    alone = runner_of(micro)(pair)["fine"].points_1
    inside = ((alone > -0.5) & (alone < np.array(pair.size_1) - 0.5)).all(1)  # a Matcher leaves the others out
    np.testing.assert_allclose(alone[inside], matches.points_1, atol=1e-3)


def test_larger_images_are_shrunk_and_points_come_back(micro):
    image = texture(3, 192, 224)
    pair = Pair("p", "g", "s", image, image, np.eye(3), 0.0, (224, 192), (224, 192))
    network = Network(micro.model, side=112)
    found = network(pair)
    coarse, fine = score_stages("m", pair, found, network.side)
    assert fine.matches > 100 and fine.median_offset < 0.8 and fine.exact == coarse.exact == 1 and coarse.cells > 0.9


def test_quarters_are_taken_away_and_the_truth_follows(micro):
    pair = a_pair(turns=1)
    turned, turns = turned_pair(pair)
    assert turns in (1, 3) and turned.size_1 == (96, 96)
    assert np.array_equal(turned.image_1, a_pair().image_1)
    np.testing.assert_allclose(turned.homography, a_pair().homography, atol=1e-9)
    assert turned_pair(turned) == (turned, 0)
    rows = evaluate(micro, [pair], None, resamples=10).rows
    lying = evaluate(micro, [pair], None, turned=False, resamples=10).rows
    assert rows[1].precision_1 > 0.8 > 2 * lying[1].precision_1 and rows[1].turns == turns and lying[1].turns == 0


def scores(stage: str, errors: list[float], **values) -> list[StageScore]:
    plain = PairScore("m", stage, "g", "s", "sem", "p", 0.0, 50, 40, 0.0, 0.5, 0.7, 0.9, 0.3, 0.1)
    names = {name: getattr(plain, name) for name in PairScore.__dataclass_fields__}
    rows = []
    for k, error in enumerate(errors):
        own = {"error_px": error, "source": f"s{k}", "id": f"p{k}", "number": k, "near": 9, "recall": 0.5}
        own |= {"mean_offset": min(error, 12.0), "median_offset": min(error, 12.0)}
        rows.append(StageScore(**{**names, **own, **values}))
    return rows


ERRORS = [0.2, 9.0, 0.5, 2.0, 4.0, math.inf, 1.0, 6.0]


def check_summary() -> None:
    told = summarise_part(scores("coarse", ERRORS) + scores("fine", [0.5 * e for e in ERRORS]), 100)
    as_ever = summarise([PairScore(**{k: getattr(row, k) for k in PairScore.__dataclass_fields__})
                         for row in scores("coarse", ERRORS)])  # fmt: skip
    for name in ("auc_1", "auc_3", "auc_5", "auc_10", "failures", "precision_1", "precision_5", "matches"):
        assert told["coarse"][name] == pytest.approx(as_ever[name], rel=1e-4)
    assert told["coarse"]["failures"] == 1 / 8 and told["n"] == told["sources"] == 8
    assert told["fine"]["auc_10"] > told["coarse"]["auc_10"]
    change = told["difference"]
    assert change["auc_3"] == pytest.approx(told["fine"]["auc_3"] - told["coarse"]["auc_3"], rel=1e-3)
    assert change["auc_3_verdict"] == "better" and change["matches_verdict"] is None
    assert change["failures"] == 0 and change["failures_verdict"] == "tie" and change["recall_verdict"] == "tie"


def test_the_summary_is_the_one_of_every_table():
    check_summary()


@pytest.mark.parametrize(
    "broken",
    [
        ("auc", lambda errors, t: real_auc([e for e in errors if np.isfinite(e)] or [99.0], t)),
        ("auc", lambda errors, t: real_auc(errors, [5.0] * len(t))),
        ("failure_rate", lambda errors, t: float(np.mean([e > t for e in errors if np.isfinite(e)]))),
    ],
    ids=["failures dropped", "threshold ignored", "infinity is no failure"],
)
def test_a_summary_broken_on_purpose_is_caught(broken, monkeypatch):
    names = ("auc", "failure_rate", "bootstrap_interval")
    faulty = SimpleNamespace(**{name: getattr(metrics, name) for name in names} | {broken[0]: broken[1]})
    monkeypatch.setattr(stage_summary, "metrics", faulty)
    with pytest.raises(AssertionError):
        check_summary()


real_auc = metrics.auc


def test_the_difference_is_one_of_pairs():
    """Pairs that differ much from each other, and by the same little everywhere: sure, though the rows overlap."""
    errors = np.linspace(0.2, 2.8, 14)
    told = summarise_part(scores("coarse", list(errors)) + scores("fine", list(errors - 0.1)), 200)
    coarse, fine, change = told["coarse"], told["fine"], told["difference"]
    assert coarse["median_offset_low"] < fine["median_offset_high"]  # each alone says nothing
    assert change["mean_offset"] == pytest.approx(-0.1) and change["mean_offset_verdict"] == "better"
    assert change["mean_offset_high"] - change["mean_offset_low"] < 0.01
    assert change["auc_3_low"] > 0


def test_whole_sources_are_drawn():
    """Two specimens, one right and one wrong: the interval goes from nothing to all, however many pairs they have."""
    rows = [replace(row, source=f"s{row.number % 2}") for row in scores("coarse", [0.1, 20.0] * 10)]
    told = summarise_part(rows, 200)["coarse"]
    assert (told["failures_low"], told["failures_high"]) == (0, 1)
    assert summarise_part([replace(row, source="s") for row in rows], 50)["coarse"]["failures_low"] is None


def test_verdicts():
    assert verdict("auc_3", 0.1, 0.2) == "better" and verdict("auc_3", -0.2, -0.1) == "worse"
    assert verdict("failures", 0.1, 0.2) == "worse" and verdict("mean_offset", -0.2, -0.1) == "better"
    assert verdict("auc_3", -0.1, 0.2) == verdict("auc_3", 0.0, 0.2) == "tie"
    assert verdict("auc_3", np.nan, np.nan) is None and verdict("matches", 1, 2) is None


def test_any_matcher_has_its_one_column():
    pairs = [a_pair(k, f"s{k}") for k in range(3)]
    found = evaluate(Oracle(pairs), pairs, None, turned=False, resamples=20)
    assert found.values["stages"] == ["final"] and len(found.rows) == 3
    told = found.values["all"]
    assert "difference" not in told and told["final"]["auc_3"] > 0.99 and told["final"]["cells"] is None
    assert "| as it is |" in found.table() and found.values["weights_sha256"] is None
    assert found.inspect("best").axes


def test_model_matcher_and_name_are_the_same_network(micro):
    pairs = [a_pair(k, f"s{k}") for k in range(2)]
    whole = Matcher.from_pretrained("micro", device="cpu")
    ways = {"model": micro.model, "matcher": whole, "name": "micro"}
    by = {kind: evaluate(made, pairs, None, resamples=20) for kind, made in ways.items()}
    first = [replace(row, matcher="", seconds=0.0) for row in by["model"].rows]
    for found in by.values():
        assert [replace(row, matcher="", seconds=0.0) for row in found.rows] == first
        assert found.values["weights_sha256"] == by["model"].values["weights_sha256"]
    coarse, fine = (by["name"].values["all"][stage] for stage in ("coarse", "fine"))
    assert coarse["cells"] == fine["cells"] and fine["median_offset"] < coarse["median_offset"] + 1
    without = evaluate("one_conv", pairs, None, resamples=20)
    assert without.values["stages"] == ["coarse"] and "difference" not in without.values["all"]


def test_made_pairs_are_drawn_by_seed_and_alone():
    one, two = drawn_pairs("hard", 3, 0, size=64), drawn_pairs("hard", 5, 0, size=64)
    assert [number for _, number in one.members] == [number for _, number in two.members][:3]
    assert np.array_equal(one[1].image_1, two[1].image_1) and one[0].accuracy_px == 0
    other = drawn_pairs("hard", 3, 1, size=64)
    assert not np.array_equal(one[0].image_0, other[0].image_0) and one[0].image_0.dtype == np.uint8
    assert len(drawn_pairs("levels", 2, 0, size=64)) == 8
    source = PairsOfSeed("easy", "validation", 5, 64)
    assert source[3].source == source.atlas.specimens[3] and source[3].id.startswith("easy/5-0003-")


def test_each_micrograph_before_any_again():
    numbers = each_before_any_again(27, 60, 3)
    assert sorted(numbers[:27]) == list(range(27)) and sorted(numbers[27:54]) == list(range(27, 54))
    assert len(set(numbers)) == 60 and numbers != each_before_any_again(27, 60, 4)


def test_pairs_of_ones_own_are_drawn_without_any_twice():
    pairs = [a_pair(k) for k in range(5)]
    drawn = drawn_pairs(pairs, 3, 0)
    assert len({drawn[k].id for k in range(3)}) == 3 and len(drawn_pairs(pairs, None, 0)) == 5


@pytest.mark.parametrize(
    ("dataset", "n", "said"),
    [("easy", 0, "1 or more"), ("easy", None, "number of samples"), ([], 3, "no pairs"), ("nowhere", 3, "neither")],
)
def test_what_cannot_be_is_refused(dataset, n, said):
    with pytest.raises(ParameterError, match=said):
        drawn_pairs(dataset, n, 0)


def test_what_is_no_matcher_is_refused():
    with pytest.raises(ParameterError, match="no matcher"):
        evaluate(object(), [a_pair()], None)
    with pytest.raises(ParameterError, match="no table"):
        read_rows("nowhere.csv")
    with pytest.raises(ParameterError, match="no table"):
        read_short("nowhere.csv")


def test_the_command_writes_record_table_and_figure(tmp_path, capsys):
    words = ["stages", "--dataset", "easy", "--samples", "2", "--size", "96", "--seed", "3"]
    assert main([*words, "--runs", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    name = "stages_micro_easy"
    record = json.loads((tmp_path / f"{name}.json").read_text())
    assert record["command"] == "python -m microloftr " + " ".join([words[0], *words[1:5], "--seed", "3", *words[5:7]])
    assert record["seed"] == 3 and record["split"] == "validation" and set(record["values"]["levels"]) == {"easy"}
    assert set(NUMBERS) <= set(record["values"]["all"]["fine"]) and stages_table(record).splitlines()[0] in said
    assert "| widefield" in stages_modalities(record) or "| " in stages_modalities(record)
    assert (tmp_path / f"{name}.png").stat().st_size > 1000
    again = reopened(tmp_path / f"{name}.csv", name, folder=tmp_path)
    assert len(again.rows) == 4 and again.rows[1].stage == "fine"
    short = reopened(name=name, folder=tmp_path)  # the table that is kept opens the same pairs
    assert [(row.number, row.stage, row.matches) for row in short.rows] == [
        (row.number, row.stage, row.matches) for row in again.rows
    ]
    kept = short.open(short.rows[2])
    assert kept.id == again.rows[2].id and kept.error == "corner error"
    assert short.inspect("worst", by="matches").get_suptitle().startswith("worst by number of matches")
    opened = again.open(again.rows[2])
    assert opened.id == again.rows[2].id and set(opened.ways) == {"coarse", "fine"}
    assert len(opened.ways["fine"].points_0) == again.rows[3].matches


def test_files_of_predictions_open_their_pairs(tmp_path):
    protocol = MadePairs("easy", limit=2)
    predict_and_score(["micro-zeros"], [protocol], runs=tmp_path, results=None)
    rows = of_predictions(load_predictions(next(tmp_path.rglob("*.npz"))), protocol)
    assert {row.stage for row in rows.rows} == {"final", "coarse"} and rows.open(rows.rows[0]).id == rows.rows[0].id
    assert rows.open(rows.rows[0]).error == "corner error"
    assert rows.inspect("worst").axes and rows.explore(stage="final").view.which == "worst"


def test_a_record_of_whole_micrographs_says_how_it_was_made(tmp_path):
    whole = {"whole": "bundled"}
    assert further_words("", whole, results_folder()) == ["--levels", "''", "--whole", "--results", "results"]
    assert further_words("easy", {"whole": "/mine", "hpatches": "/h"}, tmp_path) == [
        "--whole", "PLACE", "--hpatches", "PLACE"
    ]  # fmt: skip


def test_a_folder_of_pairs_by_group_and_by_what_its_truth_bears(tmp_path):
    """Two pairs of exact truth and one of unknown: that one counts among matches and in no AUC."""
    rows = []
    for k in range(3):
        pair = a_pair(k)
        for end, pixels in enumerate((pair.image_0, pair.image_1)):
            Picture.fromarray(pixels).save(tmp_path / f"{k}_{end}.png")
        rows.append({"id": str(k), "image_0": f"{k}_0.png", "image_1": f"{k}_1.png", "source": f"s{k}",
                     "homography": pair.homography.tolist(), "group": "ab"[k % 2]})  # fmt: skip
        rows[-1] |= {} if k == 2 else {"accuracy_px": 0.1}
    (tmp_path / "pairs.json").write_text(json.dumps(rows))
    found = evaluate("micro", str(tmp_path), None, resamples=20)
    assert set(found.values["levels"]) == {"a", "b"} and found.pairs.error == "overlap"
    assert [row.accuracy_px for row in found.rows[::2]][:2] == [0.1, 0.1] and math.isnan(found.rows[-1].accuracy_px)
    known = [row.error_px for row in found.rows if row.stage == "fine"][:2]
    assert found.values["all"]["fine"]["auc_10"] == pytest.approx(metrics.auc(known, [10.0])[0], rel=1e-4)
    assert found.values["all"]["n"] == 3 and found.values["dataset"] == "real"
    assert "error over the overlap: coarse only" in found.inspect("worst").get_suptitle()  # not of the corners
    exact = [row.exact for row in found.rows if row.stage == "fine"]  # a truth that nobody knows says nothing of cells
    assert found.values["all"]["fine"]["exact"] == pytest.approx(np.mean(exact[:2]), rel=1e-4)
    assert found.values["all"]["fine"]["recall"] == pytest.approx(
        np.mean([row.recall for row in found.rows if row.stage == "fine"][:2]), rel=1e-4
    )
    assert "AUC@t of the mean error over the overlap" in found.table() and "the network alone" in found.table()
    assert found.figure().axes[1].get_title() == "AUC@3 px of the error over the overlap"
    assert found.rows[1].error_px == pytest.approx(
        metrics.overlap_error(found.open(found.rows[1]).ways["fine"].estimate, a_pair().homography, (112, 96), (96, 96))
    )


def test_inspect_opens_pairs_that_nobody_predicted_yet_and_those_of_a_record(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(inspection, "predictions_folder", lambda: tmp_path / "runs" / "predictions")
    asked = ["inspect", "--matcher", "micro-zeros", "--pairs", "easy", "--limit", "2", "--by", "matches"]
    assert main([*asked, "--which", "median"]) == 0
    said, place = capsys.readouterr().out.splitlines()
    assert said.startswith("median of 2 pairs by matches: easy/") and place.endswith("zeros_easy_median_matches.png")
    assert (tmp_path / "runs/inspect/micro_zeros_easy_median_matches.png").stat().st_size > 5000
    assert not list((tmp_path / "runs").rglob("*.npz"))  # a quick look leaves no predictions
    evaluate("micro", "easy", 2, 3, size=96, resamples=10).save(tmp_path, "stages")
    monkeypatch.setattr(inspection, "read_result", lambda name, folder: read_result(name, tmp_path))
    monkeypatch.setattr(inspection, "results_folder", lambda: tmp_path)
    assert main(["inspect", "--out", str(tmp_path / "worst.png"), "--stage", "coarse"]) == 0
    assert capsys.readouterr().out.startswith("worst of 2 pairs by error_px: easy/")
    assert main(["inspect", "--matcher", "one_conv"]) == 2 and "is of micro" in capsys.readouterr().err
    assert main(["inspect", "--modality", "no such"]) == 2 and "no row" in capsys.readouterr().err
    (tmp_path / "stages_pairs.csv").unlink()
    assert main(["inspect"]) == 2 and "python -m microloftr stages" in capsys.readouterr().err


def test_seconds_of_a_busy_machine_are_told(tmp_path, monkeypatch, capsys):
    times = {"wall": 5.0, "cpu": 2.0}
    assert loaded(times) and not loaded({"wall": 3.9, "cpu": 2.0})
    found = evaluate("micro", "easy", 2, 3, size=96, resamples=10)
    assert set(found.values["times"]) == {"wall", "cpu"} and found.values["times"]["cpu"] > 0
    record = {"values": found.values | {"times": times}}
    assert "they mean nothing" in stages_table(record) and "they mean nothing" not in stages_table(record, False)
    assert "mean nothing" not in stages_table({"values": found.values | {"times": {"wall": 2.0, "cpu": 2.0}}})
    monkeypatch.setattr(stages, "spent", lambda every: times)
    words = ["stages", "--dataset", "easy", "--samples", "2", "--size", "96", "--runs", str(tmp_path)]
    assert main(words) == 0 and "busy with other work: 5.0 s" in capsys.readouterr().err


def test_retime_measures_the_seconds_again_and_nothing_else(tmp_path, monkeypatch, capsys):
    words = ["stages", "--dataset", "easy", "--samples", "3", "--size", "96", "--runs", str(tmp_path)]
    assert main(words) == 0
    path = tmp_path / "stages_micro_easy.json"
    before = json.loads(path.read_text())
    planted = iter(np.arange(1, 9))

    def since(start):
        taken = float(next(planted))
        return taken, taken

    monkeypatch.setattr(stage_scores, "since", since)  # of 3 pairs and one to warm up, both stages
    assert main([*words, "--retime"]) == 0
    after = json.loads(path.read_text())
    seconds = [part[stage]["seconds"] for part in (after["values"]["all"], after["values"]["levels"]["easy"])
               for stage in ("coarse", "fine")]  # fmt: skip
    assert seconds == [5, 6, 5, 6]  # the medians of 3, 5, 7 and of 4, 6, 8
    assert after["values"]["times"]["pairs"] == 3 and after["command"] == before["command"]

    def without(node):
        if not isinstance(node, dict):
            return node
        return {key: without(value) for key, value in node.items() if not key.startswith(("seconds", "times"))}

    assert without(after) == without(before)
    monkeypatch.setattr(stage_scores, "since", lambda start: (5.0, 1.0))
    capsys.readouterr()
    assert main([*words, "--retime"]) == 2 and "busy with other work" in capsys.readouterr().err
    assert json.loads(path.read_text()) == after  # nothing was written


class Sees:
    """A matcher that knows the points of each pair by its first image."""

    def __init__(self, points: dict[bytes, tuple[np.ndarray, np.ndarray]]) -> None:
        self.points = points

    def match(self, image_0, image_1):
        points = self.points[image_0.tobytes()]
        return Matches(*points, np.full(len(points[0]), 0.9), image_0.shape[::-1], image_1.shape[::-1])


def a_scene(folder, noise=(0.1, 2.0, 40.0)) -> tuple[list[dict], Sees]:
    """Photographs of a scene with depth, a pair for each noise in px: rows of pairs.json, and who sees their points."""
    generator, rows, seen = np.random.default_rng(3), [], {}
    camera = np.array([[400.0, 0, 56], [0, 380, 48], [0, 0, 1]])
    for number, sigma in enumerate(noise):
        rotation = Rotation.from_rotvec(generator.uniform(-0.2, 0.2, 3)).as_matrix()
        translation = np.array([1.0, 0.2, -0.1])
        scene = generator.uniform([-1, -1, 6], [1, 1, 12], (150, 3))
        images = (scene @ camera.T, (scene @ rotation.T + translation) @ camera.T)
        points = [image[:, :2] / image[:, 2:] + generator.normal(0, sigma, (150, 2)) for image in images]
        for end in (0, 1):
            Picture.fromarray(texture(2 * number + end)).save(folder / f"{number}_{end}.png")
        seen[read_image(folder / f"{number}_0.png").pixels.tobytes()] = tuple(points)
        rows.append({"id": str(number), "image_0": f"{number}_0.png", "image_1": f"{number}_1.png",
                     "source": f"s{number}", "camera_0": camera.tolist(), "camera_1": camera.tolist(),
                     "pose": {"rotation": rotation.tolist(), "translation": translation.tolist()}})  # fmt: skip
    (folder / "pairs.json").write_text(json.dumps(rows))
    return rows, Sees(seen)


def test_a_folder_with_cameras_has_a_pose_auc(tmp_path):
    rows, sees = a_scene(tmp_path)
    found = evaluate(sees, str(tmp_path), None, resamples=50)
    errors = []
    for row, pair in zip(rows, FolderPairs(tmp_path), strict=True):
        pose = metrics_pose.relative_pose(*sees.points[pair.image_0.tobytes()], *map(np.array, (row["camera_0"],) * 2))
        true = np.array(row["pose"]["rotation"]), np.array(row["pose"]["translation"])
        errors.append(metrics_pose.pose_error(pose, true))
    assert [one.pose for one in found.rows] == pytest.approx(errors) and errors[0] < 2.5 < 5 < errors[2]
    pose = found.values["all"]["final"]["pose"]
    assert [pose[f"auc_{t}"] for t in (5, 10, 20)] == pytest.approx(metrics_pose.pose_auc(errors), rel=1e-4)
    assert pose["n"] == 3 and pose["auc_5_low"] <= pose["auc_5"] <= pose["auc_5_high"]
    assert found.values["all"]["final"]["auc_10"] is None and found.values["all"]["final"]["exact"] is None
    assert found.table().startswith("| pairs | stage | pose AUC@5° |")
    found.save(tmp_path / "out")
    kept = read_rows(tmp_path / "out" / "stages.csv")
    assert [one.pose for one in kept] == pytest.approx(errors, rel=1e-4)
    both = [row | {"homography": np.eye(3).tolist(), "accuracy_px": 0.1} for row in rows]  # a plane has both
    (tmp_path / "pairs.json").write_text(json.dumps(both))
    found = evaluate(sees, str(tmp_path), None, resamples=20).values["all"]["final"]
    assert found["pose"]["n"] == 3 and found["auc_10"] is not None


def test_a_scene_seen_from_far_apart_has_a_pose_and_no_transform(tmp_path):
    """Points infinitely far away share no overlap: what is no truth is not asked."""
    rows, sees = a_scene(tmp_path, (0.1, 0.1))
    far = Rotation.from_rotvec([0, 1.2, 0]).as_matrix()
    rows[1]["pose"]["rotation"] = far.tolist()
    (tmp_path / "pairs.json").write_text(json.dumps(rows))
    found = evaluate(sees, str(tmp_path), None, resamples=10)
    assert found.values["all"]["final"]["pose"]["n"] == 2 and all(math.isnan(row.error_px) for row in found.rows)
    figure = found.inspect("worst")
    assert "no homography is its truth" in figure.get_suptitle() and "to 3 px" not in figure.get_suptitle()
    colours = figure.axes[1].collections[0].get_facecolors()
    assert (colours[:, :3] == 1).all()  # nobody knows which of the points are right
    protocol = FolderPairs(tmp_path)
    file = load_predictions(predict("rootsift", protocol, tmp_path / "predictions"))
    assert all(math.isnan(row.error_px) for row in score_pairs(file, protocol))


def test_a_folder_is_retimed_by_the_name_that_it_was_kept_by_and_no_path_is_told(tmp_path, monkeypatch, capsys):
    place = tmp_path / "own pairs"
    place.mkdir()
    rows = []
    for k in range(2):
        pair = a_pair(k)
        for end, pixels in enumerate((pair.image_0, pair.image_1)):
            Picture.fromarray(pixels).save(place / f"{k}_{end}.png")
        rows.append({"id": str(k), "image_0": f"{k}_0.png", "image_1": f"{k}_1.png", "source": f"s{k}",
                     "homography": pair.homography.tolist(), "group": "g", "accuracy_px": 0.1})  # fmt: skip
    (place / "pairs.json").write_text(json.dumps(rows))
    words = ["stages", "--matcher", "rootsift", "--dataset", str(place), "--runs", str(tmp_path / "runs")]
    assert main(words) == 0
    path = Path(capsys.readouterr().out.splitlines()[-1])
    record = json.loads(path.read_text())
    assert record["command"].endswith("--matcher rootsift --dataset FOLDER")
    assert "network alone" not in stages_table(record) and "error over the overlap" in stages_table(record)
    monkeypatch.setattr(stage_scores, "since", lambda start: (1.0, 1.0))
    assert main([*words, "--retime"]) == 0
    assert json.loads(path.read_text())["values"]["all"]["final"]["seconds"] == 1.0


def test_a_network_gets_a_pose_at_both_stages_and_pairs_without_cameras_none(tmp_path, micro):
    a_scene(tmp_path, (0.1,))
    found = evaluate(micro, str(tmp_path), None, resamples=10)
    assert set(found.values["all"]["coarse"]["pose"]) == set(found.values["all"]["fine"]["pose"]) >= {"auc_5", "n"}
    assert "pose" not in found.values["all"]["difference"]
    plain = evaluate(micro, [a_pair()], None, resamples=10)
    assert "pose" not in plain.values["all"]["fine"] and "pose AUC" not in plain.table()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"pose": None}, "needs camera_0"),
        ({"camera_1": [[1, 0], [0, 1]]}, "needs camera_0"),
        ({"camera_0": (-np.eye(3)).tolist()}, "focal lengths"),
        ({"pose": {"rotation": (2 * np.eye(3)).tolist(), "translation": [0, 0, 1]}}, "rotation of pair 0 is none"),
        ({"pose": {"rotation": np.diag([1, 1, -1]).tolist(), "translation": [0, 0, 1]}}, "rotation of pair 0 is none"),
    ],
)
def test_cameras_that_are_none_are_refused(tmp_path, changed, said):
    rows, _ = a_scene(tmp_path, (0.1,))
    (tmp_path / "pairs.json").write_text(json.dumps([rows[0] | changed]))
    with pytest.raises(ParameterError, match=said):
        FolderPairs(tmp_path)
    (tmp_path / "pairs.json").write_text(json.dumps([{k: v for k, v in rows[0].items() if k != "pose"}]))
    with pytest.raises(ParameterError, match="lacks homography"):
        FolderPairs(tmp_path)
