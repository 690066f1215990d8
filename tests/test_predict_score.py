"""Predict and score, two steps with files between, on a folder of pairs whose truth a matcher of this module knows."""

import csv
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from microloftr.calibration import Calibration
from microloftr.data import fixed
from microloftr.data.atlas import build_atlas
from microloftr.data.micrographs import Micrograph
from microloftr.errors import ParameterError
from microloftr.evaluation import predict, predict_and_score, score, summary, threshold
from microloftr.evaluation.predictions import load_predictions
from microloftr.evaluation.protocols import FolderPairs, MadePairs, fingerprint, get_protocol, real_folder
from microloftr.evaluation.report import figure_source, source_sha256
from microloftr.evaluation.score import score_pairs
from microloftr.evaluation.summary import PairScore, summarise, summarise_groups
from microloftr.evaluation.threshold import THRESHOLDS, by_threshold, choose
from microloftr.images import as_image
from microloftr.matches import Matches
from microloftr.model.presets import PRESETS, model_config
from microloftr.model.weights import load_model, shipped
from microloftr.registration import families
from microloftr.results import read_result, write_result

SIZE = (96, 80)  # width, height
TRUTHS = [
    np.array([[1, 0, 5.25], [0, 1, -3.5], [0, 0, 1]]),
    np.array([[1.1, 0.1, -4], [-0.1, 1.1, 6], [1e-4, 0, 1]]),
    np.array([[1, 0, 40.5], [0, 1, 0], [0, 0, 1]]),
    np.array([[0.9, 0, 2], [0, 0.9, 3], [0, 0, 1]]),
]
ORACLE = f"{__name__}.Oracle"


class Oracle:
    """Knows the truth of each pair by its first pixel; `coarse` px off before refinement; counts its calls."""

    calls = 0
    noise = 0.0
    silent_on: tuple[int, ...] = ()
    fails_on: int | None = None
    number = 400

    def match(self, image_0, image_1) -> Matches:
        pixels = as_image(image_1).pixels
        pair = round(float(pixels[0, 0]) * 255)
        type(self).calls += 1
        if pair == self.fails_on:
            raise RuntimeError("the matcher fell over")
        generator = np.random.default_rng(pair)
        points_0 = generator.uniform(
            0, [SIZE[0] - 1, SIZE[1] - 1], size=(0 if pair in self.silent_on else self.number, 2)
        )
        points_1 = cv2.perspectiveTransform(points_0[None], TRUTHS[pair])[0] if len(points_0) else points_0
        points_1 = points_1 + self.noise * generator.normal(size=points_1.shape)
        confidence = generator.uniform(size=len(points_0))
        return Matches(points_0, points_1, confidence, SIZE, SIZE, coarse_points_1=points_1 + [4.0, 0.0])


@pytest.fixture(autouse=True)
def fresh_oracle(monkeypatch):
    for name, value in (("calls", 0), ("noise", 0.0), ("silent_on", ()), ("fails_on", None), ("number", 400)):
        monkeypatch.setattr(Oracle, name, value)


@pytest.fixture
def folder(tmp_path) -> Path:
    """Four pairs of two groups and three sources; one with landmarks; accuracies 0.2, none, 2 and 0.5 px."""
    folder = tmp_path / "my pairs"
    folder.mkdir()
    texture = np.random.default_rng(1).integers(0, 255, size=(SIZE[1], SIZE[0]), dtype=np.uint8)
    cv2.imwrite(str(folder / "shared.png"), texture)
    rows = []
    for number, truth in enumerate(TRUTHS):
        texture[0, 0] = number
        cv2.imwrite(str(folder / f"{number}.png"), texture)
        row = {
            "id": f"pair/{number}",
            "image_0": "shared.png",
            "image_1": f"{number}.png",
            "homography": truth.tolist(),
        }
        row |= {"group": "tiles" if number < 3 else "stains", "source": f"slide {number // 2 if number < 3 else 2}"}
        rows.append({**row, "accuracy_px": [0.2, None, 2.0, 0.5][number], "landmarks": None})
    points_0 = np.array([[10.0, 10.0], [80.0, 12.0], [40.0, 70.0]])
    moved = cv2.perspectiveTransform(points_0[None], TRUTHS[3])[0]
    (folder / "3.csv").write_text(
        "x0,y0,x1,y1\n" + "\n".join(",".join(map(str, [*a, *b])) for a, b in zip(points_0, moved, strict=True))
    )
    rows[3]["landmarks"] = "3.csv"
    (folder / "pairs.json").write_text(json.dumps(rows))
    return folder


def test_the_folder_is_read_as_pairs(folder):
    pairs = list(FolderPairs(folder))
    assert [pair.id for pair in pairs] == [f"pair/{k}" for k in range(4)]
    assert [pair.source for pair in pairs] == ["slide 0", "slide 0", "slide 1", "slide 2"]
    assert [pair.accuracy_px for pair in pairs] == [0.2, None, 2.0, 0.5]
    assert pairs[0].size_0 == SIZE and pairs[0].image_0.shape == SIZE[::-1]
    assert pairs[3].landmarks.shape == (3, 4) and pairs[0].landmarks is None
    assert np.array_equal(pairs[1].homography, TRUTHS[1])
    assert [pair.id for pair in get_protocol(folder, limit=2)] == ["pair/0", "pair/3"]


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda rows: rows[1].pop("homography"), "lacks homography"),
        (lambda rows: rows[1].update(homography=[[1, 0], [0, 1]]), "3×3"),
        (lambda rows: rows[1].update(homography=np.zeros((3, 3)).tolist()), "inverted"),
        (lambda rows: rows[1].update(image_1="gone.png"), "no file"),
        (lambda rows: rows[1].update(id="pair/0"), "more than one"),
        (lambda rows: rows.clear(), "holds no list"),
    ],
)
def test_a_bad_list_of_pairs_is_one_clear_sentence(folder, change, said):
    rows = json.loads((folder / "pairs.json").read_text())
    change(rows)
    (folder / "pairs.json").write_text(json.dumps(rows))
    with pytest.raises(ParameterError, match=said) as caught:
        FolderPairs(folder)
    assert "\n" not in str(caught.value)


def test_a_wrong_size_a_bad_table_and_no_folder_are_told(folder, tmp_path):
    rows = json.loads((folder / "pairs.json").read_text())
    rows[0]["size_0"] = [80, 96]
    (folder / "pairs.json").write_text(json.dumps(rows))
    with pytest.raises(ParameterError, match="size_0"):
        FolderPairs(folder)[0]
    (folder / "3.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ParameterError, match="no table of landmarks"):
        FolderPairs(folder)[3]
    with pytest.raises(ParameterError, match="neither a level"):
        get_protocol(tmp_path / "nowhere")
    with pytest.raises(ParameterError, match="no level"):
        MadePairs("impossible")
    with pytest.raises(ParameterError, match="1 or more"):
        get_protocol(folder, limit=0)


def test_the_environment_names_the_real_pairs(monkeypatch):
    monkeypatch.delenv("MICROLOFTR_PAIRS", raising=False)
    assert real_folder() is None
    monkeypatch.setenv("MICROLOFTR_PAIRS", "there")
    assert real_folder() == "there" and real_folder("here") == "here"


def test_made_pairs_are_the_fixed_ones(monkeypatch):
    texture = np.random.default_rng(0).integers(0, 255, size=(2, 640, 640), dtype=np.uint8)
    blurred = [cv2.GaussianBlur(image, (0, 0), 3) for image in texture]
    few = [Micrograph(f"m{k}", "validation", f"specimen {k}", "sem", image) for k, image in enumerate(blurred)]
    monkeypatch.setattr(fixed, "split_atlas", lambda split: build_atlas(few))
    pairs = list(MadePairs("easy", limit=2))
    assert len(pairs) == 2 and pairs[0].id != pairs[1].id
    for pair in pairs:
        assert pair.image_0.dtype == np.uint8 and pair.image_0.shape == (320, 320) and pair.size_1 == (320, 320)
        assert pair.accuracy_px == 0 and pair.homography.shape == (3, 3) and pair.modality == "sem"
        assert 0.4 < pair.overlap < 1 and pair.source == f"specimen {pair.id[-1]}"
    assert len(MadePairs("easy")) == 8
    assert fingerprint(pairs_of(pairs)) == fingerprint(MadePairs("easy", limit=2))
    other = [replace(pairs[0], homography=pairs[0].homography + 1e-9), pairs[1]]
    assert fingerprint(pairs_of(other)) != fingerprint(pairs_of(pairs))


def pairs_of(pairs):
    return iter(pairs)


def test_predictions_say_what_the_matcher_said(folder, tmp_path):
    path = predict.predict(ORACLE, FolderPairs(folder), tmp_path / "out")
    found = load_predictions(path)
    assert path.parent.name == predict.matcher_key(ORACLE) and path.name == "real.npz"
    assert found.ids == [f"pair/{k}" for k in range(4)] and len(found.offsets) == 5 and (found.seconds > 0).all()
    said = Oracle().match(None, FolderPairs(folder)[2].image_1).top(10_000)
    points_0, points_1 = found.points(2)
    assert points_0 == pytest.approx(said.points_0, abs=1e-4) and points_1 == pytest.approx(said.points_1, abs=1e-4)
    assert found.points(2, coarse=True)[1] == pytest.approx(said.points_1 + [4, 0], abs=1e-4)
    assert found.points(2, coarse=True)[0] == pytest.approx(said.points_0, abs=1e-4)
    header = found.header
    assert header["matcher"] == ORACLE and header["match_cap"] == 4096 and header["resize"].startswith("none")
    assert header["weights_sha256"] is None and header["pairs_sha256"] == fingerprint(FolderPairs(folder))
    assert set(header) >= set(predict.IDENTITY) | {"commit", "device", "threads"}


def test_what_is_done_is_not_done_again(folder, tmp_path):
    protocol = FolderPairs(folder)
    path = predict.predict(ORACLE, protocol, tmp_path)
    first = path.read_bytes()
    assert Oracle.calls == 4
    predict.predict(ORACLE, protocol, tmp_path)
    assert Oracle.calls == 4 and path.read_bytes() == first
    predict.predict(ORACLE, protocol, tmp_path, force=True)
    assert Oracle.calls == 8


@pytest.mark.parametrize("change", ["image", "truth", "damage", "code"])
def test_what_has_changed_is_done_again(folder, tmp_path, change, monkeypatch):
    path = predict.predict(ORACLE, FolderPairs(folder), tmp_path)
    if change == "image":
        image = cv2.imread(str(folder / "2.png"), cv2.IMREAD_GRAYSCALE)
        image[5, 5] ^= 1
        cv2.imwrite(str(folder / "2.png"), image)
    elif change == "truth":
        rows = json.loads((folder / "pairs.json").read_text())
        rows[0]["homography"][0][2] += 1
        (folder / "pairs.json").write_text(json.dumps(rows))
    elif change == "damage":
        path.write_bytes(path.read_bytes()[:-100])
    else:
        monkeypatch.setattr(predict, "code_sha256", lambda matcher: "other code")
    predict.predict(ORACLE, FolderPairs(folder), tmp_path)
    assert Oracle.calls == 8
    assert len(load_predictions(path).ids) == 4


def test_interrupted_work_leaves_no_file_and_names_the_pair(folder, tmp_path):
    Oracle.fails_on = 2
    with pytest.raises(RuntimeError, match="fell over") as caught:
        predict.predict(ORACLE, FolderPairs(folder), tmp_path)
    assert any("pair/2" in note for note in caught.value.__notes__)
    assert not [path for path in tmp_path.rglob("*.npz") if "pairs" not in path.parts]


def test_the_most_confident_matches_stay_under_the_cap(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(predict, "MATCH_CAP", 50)
    found = load_predictions(predict.predict(ORACLE, FolderPairs(folder), tmp_path))
    assert np.diff(found.offsets).tolist() == [50] * 4
    assert found.confidence.min() > 0.8 and found.header["match_cap"] == 50


def test_no_file_and_no_predictions_are_told(tmp_path):
    with pytest.raises(ParameterError, match="microloftr predict"):
        load_predictions(tmp_path / "gone.npz")
    (tmp_path / "bad.npz").write_bytes(b"nothing")
    with pytest.raises(ParameterError, match="no file of predictions"):
        load_predictions(tmp_path / "bad.npz")
    np.savez(tmp_path / "pickle.npz", header=np.array({"format": 1}, dtype=object))
    with pytest.raises(ParameterError, match="no file of predictions"):
        load_predictions(tmp_path / "pickle.npz")


def scored(folder: Path, out: Path) -> list[PairScore]:
    protocol = FolderPairs(folder)
    return score_pairs(load_predictions(predict.predict(ORACLE, protocol, out, force=True)), protocol)


def test_scores_of_a_matcher_that_knows_the_truth(folder, tmp_path):
    scores = scored(folder, tmp_path)
    final, coarse = ([s for s in scores if s.stage == stage] for stage in ("final", "coarse"))
    assert len(final) == len(coarse) == 4
    for one in final:
        assert one.error_px < 1e-3 and one.precision_1 == 1 and one.median_correct_px < 1e-3 and one.inliers == 400
    for one in coarse:  # every point 4 px too far right, and so the transform
        assert one.error_px == pytest.approx(4, abs=0.01)
        assert (one.precision_1, one.precision_3, one.precision_5) == (0, 0, 1)
        assert np.isnan(one.median_correct_px)
    assert final[3].tre < 1e-3 and final[3].robustness == 1 and final[3].truth_tre < 1e-3
    assert coarse[3].tre == pytest.approx(4, abs=0.01) and np.isnan(coarse[0].tre)


def test_a_pair_without_matches_is_a_failure_and_stays_in_the_count(folder, tmp_path):
    Oracle.silent_on = (0,)
    scores = [s for s in scored(folder, tmp_path) if s.stage == "final"]
    assert scores[0].error_px == np.inf and scores[0].precision_3 == 0 and scores[0].matches == 0
    totals = summarise(scores)
    assert (totals["n"], totals["n_10"]) == (4, 3)
    assert totals["failures"] == pytest.approx(1 / 3, abs=1e-4)
    assert totals["auc_10"] == pytest.approx(2 / 3, abs=1e-3)


def test_every_matcher_meets_the_same_estimator(folder, tmp_path, monkeypatch):
    used = []
    real = families.find_homography
    monkeypatch.setattr(score, "find_homography", lambda *args: used.append(args[2]) or real(*args))
    scored(folder, tmp_path)
    assert used == [2.0] * 8


def test_predictions_of_other_pairs_are_refused(folder, tmp_path):
    path = predict.predict(ORACLE, FolderPairs(folder), tmp_path)
    rows = json.loads((folder / "pairs.json").read_text())
    rows[0]["homography"][0][2] += 1
    (folder / "pairs.json").write_text(json.dumps(rows))
    with pytest.raises(ParameterError, match="other pairs"):
        score_pairs(load_predictions(path), FolderPairs(folder))


def made_score(number: int, **values) -> PairScore:
    plain = {"matcher": "m", "stage": "final", "group": "g", "source": str(number), "modality": "", "id": str(number)}
    plain |= {"accuracy_px": 0.0, "matches": 10, "inliers": 5, "error_px": 0.5, "precision_1": 0.5, "precision_3": 0.75}
    return PairScore(**(plain | {"precision_5": 1.0, "median_correct_px": 0.4, "seconds": 0.1} | values))


def test_only_pairs_whose_truth_is_good_to_half_the_threshold_count():
    scores = [
        made_score(0, accuracy_px=0.5),
        made_score(1, accuracy_px=0.6, error_px=np.inf, precision_1=0.0),
        made_score(2, accuracy_px=1.6, error_px=np.inf, median_correct_px=2.9),
        made_score(3, accuracy_px=np.nan, error_px=np.inf, matches=50),
    ]
    totals = summarise(scores)
    assert [totals[f"n_{t}"] for t in (1, 3, 5, 10)] == [1, 2, 3, 3]
    assert totals["auc_1"] == pytest.approx(0.75) and totals["precision_1"] == 0.5
    assert totals["auc_3"] == pytest.approx((1 - 0.25 / 3) / 2, abs=1e-4)
    assert totals["failures"] == pytest.approx(2 / 3, abs=1e-4)
    assert totals["median_error"] == pytest.approx(0.4)
    assert totals["matches"] == 20
    nobody = summarise([made_score(0, accuracy_px=np.nan)])
    assert nobody["auc_1"] is None and nobody["failures"] is None and nobody["auc_3_low"] is None


def test_intervals_enclose_the_value_and_are_drawn_by_source():
    scores = [made_score(k, source=str(k % 2), error_px=np.inf if k % 2 else 0.0) for k in range(40)]
    totals = summarise(scores)
    assert (totals["failures"], totals["failures_low"], totals["failures_high"]) == (0.5, 0.0, 1.0)
    many = summarise([replace(s, source=s.id) for s in scores])
    assert 0.3 < many["failures_low"] < 0.5 < many["failures_high"] < 0.7


def test_photographs_are_no_part_of_all():
    scores = [made_score(0), made_score(1, group="generic", error_px=np.inf)]
    groups = summarise_groups(scores)
    assert set(groups) == {"g", "generic", "all"}
    assert (
        groups["all"]["m"]["n"] == 1 and groups["all"]["m"]["failures"] == 0 and groups["generic"]["m"]["failures"] == 1
    )


def keys(values) -> list[str]:
    return [k for key, value in values.items() for k in [key, *(keys(value) if isinstance(value, dict) else [])]]


def test_the_records_and_tables_of_an_evaluation(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(summary, "RESAMPLES", 50)
    Oracle.noise = 0.3
    runs, results = tmp_path / "runs", tmp_path / "results"
    arguments = ["--levels", "", "--real", str(folder), "--matchers", f"{ORACLE},phase_correlation"]
    arguments += ["--runs", str(runs), "--results", str(results)]
    assert predict_and_score.main(arguments) == 0
    text = (results / "evaluate_real.json").read_text()
    record = json.loads(text)
    asked = f"--matchers {ORACLE},phase_correlation --real FOLDER --levels ''"
    assert record["command"] == f"python -m microloftr evaluate {asked}"
    assert str(tmp_path) not in text and record["split"] == "real"
    values = record["values"]
    assert values["threshold_px"] == 2 and values["match_cap"] == 4096 and "MAGSAC" in values["estimator"]
    assert set(values["matchers"]) == {predict.matcher_key(ORACLE), "phase_correlation"}
    assert all("." not in key for key in keys(values))
    tiles = values["groups"]["tiles"][predict.matcher_key(ORACLE)]
    assert tiles["n"] == 3 and tiles["auc_10"] > 0.98 and tiles["coarse"]["auc_10"] < 0.75
    with open(runs / "scores" / "real_real.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4 * 2 + 4 and {row["stage"] for row in rows} == {"final", "coarse"}

    assert figure_source(results / "evaluation_real.png") == source_sha256(values["groups"])
    assert not (results / "evaluation.png").exists()  # there are no made pairs

    calls = Oracle.calls
    assert predict_and_score.main(arguments) == 0
    assert Oracle.calls == calls and (results / "evaluate_real.json").read_text() == text
    assert (
        score.main(
            ["--pairs", str(folder), "--matchers", ORACLE, "--predictions", str(runs / "predictions")]
            + ["--tables", str(tmp_path / "t"), "--results", str(tmp_path / "r")]
        )
        == 0
    )
    again = json.loads((tmp_path / "r" / "evaluate_real.json").read_text())["values"]["groups"]["tiles"]
    assert again == {predict.matcher_key(ORACLE): tiles}


def test_the_figures_of_the_projects_own_evaluation_are_drawn_into_the_vault(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(predict_and_score, "results_folder", lambda: tmp_path / "results")
    monkeypatch.setattr(predict_and_score, "draw", lambda record, part, path: drawn.append((part, path)) or True)
    values = {"levels": {"easy": {}}, "modalities": {"sem": {}}}
    write_result("evaluate", values, command="", folder=tmp_path / "results")
    attachments = tmp_path / "docs_obsidian" / "attachments"
    files = [attachments / "evaluation.png", attachments / "evaluation_modalities.png"]
    assert predict_and_score.draw_figures(["evaluate"], tmp_path / "results") == files
    assert drawn == list(zip(("levels", "modalities"), files, strict=True))


def test_a_quick_look_writes_nothing(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(summary, "RESAMPLES", 50)
    monkeypatch.setattr(predict_and_score, "default_results", lambda *args: pytest.fail("a quick look has no results"))
    before = sorted(tmp_path.rglob("*"))
    arguments = ["--levels", "", "--real", str(folder), "--matchers", ORACLE, "--limit", "2"]
    assert (
        predict_and_score.main([*arguments, "--runs", str(tmp_path / "runs"), "--results", str(tmp_path / "results")])
        == 0
    )
    assert sorted(tmp_path.rglob("*")) == before
    table = capsys.readouterr().out
    assert "OpenCV USAC_MAGSAC" in table and "2 px" in table and "4096 matches" in table and "Resize" in table


def test_only_the_whole_list_of_matchers_may_write_into_results():
    from microloftr.evaluation.matchers import DEFAULT_MATCHERS

    assert score.default_results([*DEFAULT_MATCHERS, "extra"]).name == "results"
    assert score.default_results(["micro"]).name == "runs"


def test_two_matchers_of_one_key_are_refused(folder, tmp_path):
    with pytest.raises(ParameterError, match="same key"):
        score.score(
            ["a/best.safetensors", "b/best.safetensors"],
            [FolderPairs(folder)],
            predictions=tmp_path,
            tables=tmp_path,
            results=None,
            command="",
        )


def test_predict_from_the_command_line(folder, tmp_path, capsys):
    assert predict.main(["--matcher", ORACLE, "--pairs", str(folder), "--out", str(tmp_path / "out")]) == 0
    assert load_predictions(capsys.readouterr().out.strip()).ids[0] == "pair/0"


def test_the_chosen_threshold_fails_least_among_the_best():
    scores = [0.5, 0.5, 0.595, 0.6, 0.599, 0.4]
    failures = [0.0, 0.1, 0.3, 0.4, 0.2, 0.1]
    rows = [{"auc_3": a, "failures": f} for a, f in zip(scores, failures, strict=True)]
    chosen = choose({"easy": rows, "hard": rows})
    assert chosen["best"] == THRESHOLDS[4]
    assert chosen["mean_auc_3"] == scores


def test_a_higher_threshold_keeps_fewer_of_the_same_matches():
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 100, (60, 2))
    wrong = points + rng.uniform(-60, 60, points.shape)

    class Sure:
        """Right matches are sure, wrong ones are not."""

        def match(self, image_0, image_1):
            both = np.concatenate((points, points)), np.concatenate((points, wrong))
            return Matches(*both, np.repeat([0.9, 0.1], 60), (100, 100), (100, 100))

    @dataclass(frozen=True)
    class One:
        image_0 = image_1 = None
        homography = np.eye(3)
        size_0 = (100, 100)

    rows = by_threshold(Sure(), [One()], (0.05, 0.5, 0.95))
    assert [row["matches"] for row in rows] == [120, 60, 0]
    assert rows[1]["auc_3"] > 0.99
    assert (rows[2]["auc_3"], rows[2]["failures"]) == (0, 1)


def test_side_by_side_says_the_same_and_times_a_few(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(predict, "TIMED", 2)
    protocol = FolderPairs(folder)
    alone = load_predictions(predict.predict("rootsift", protocol, tmp_path / "alone"))
    both = load_predictions(predict.predict("rootsift", protocol, tmp_path / "both", jobs=2))
    assert both.ids == alone.ids and np.array_equal(both.offsets, alone.offsets) and len(both.points_0) > 20
    assert np.array_equal(both.points_1, alone.points_1) and np.array_equal(both.confidence, alone.confidence)
    assert np.isfinite(both.seconds).tolist() == [True, False, False, True] and np.isfinite(alone.seconds).all()
    assert {key: both.header[key] for key in predict.IDENTITY} == {key: alone.header[key] for key in predict.IDENTITY}
    with pytest.raises(ParameterError, match="1 or more jobs"):
        predict.predict("rootsift", protocol, tmp_path, jobs=0)


def test_workers_end_with_a_command_that_is_killed(tmp_path):
    """As under `kill -9`, where no command can clean up."""
    code = (
        "import os, time, multiprocessing as m\n"
        "from microloftr.evaluation.predict import _end_with\n"
        "def worker(parent):\n    os.getppid() == parent and print(os.getpid(), flush=True)\n    _end_with(parent)\n"
        "m.get_context('fork').Process(target=worker, args=(os.getpid(),)).start()\ntime.sleep(60)\n"
    )
    command = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    worker = int(command.stdout.readline())
    command.kill()
    command.wait()
    deadline = time.monotonic() + 10
    while command.stdout.read(1):  # the pipe closes when the worker, its last holder, has gone
        assert time.monotonic() < deadline
    with pytest.raises(ProcessLookupError):
        while time.monotonic() < deadline:
            os.kill(worker, 0)
            time.sleep(0.05)
    command.stdout.close()


def test_times_are_taken_anew_and_nothing_else(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(predict, "TIMED", 2)
    before = load_predictions(predict.predict(ORACLE, FolderPairs(folder), tmp_path))
    after = load_predictions(predict.predict(ORACLE, FolderPairs(folder), tmp_path, retime=True))
    assert Oracle.calls == 4 + 1 + 2  # one to warm up
    assert np.isfinite(after.seconds).tolist() == [True, False, False, True] and np.isfinite(before.seconds).all()
    for name in ("offsets", "confidence", "points_0", "points_1", "coarse_points_1"):
        assert np.array_equal(getattr(before, name), getattr(after, name))


def test_the_time_is_the_median_of_those_measured():
    scores = [made_score(k, seconds=seconds) for k, seconds in enumerate([0.1, np.nan, 0.4, np.nan, 0.2])]
    totals = summarise(scores)
    assert totals["seconds"] == 0.2 and totals["timed"] == 3
    assert summarise([made_score(0, seconds=np.nan)])["seconds"] is None


def totals_by_hand() -> None:
    """Five pairs: to 0.6 px, to 2 px, to 12 px, and two without a transform; one truth known to 1 px only."""
    scores = [made_score(k, error_px=e) for k, e in enumerate([0.6, 2.0, 12.0, np.inf])]
    scores.append(made_score(4, error_px=np.inf, accuracy_px=1.0))
    totals = summarise(scores)
    # recall rises to 1/4 at 0.6 and stays to 1; to 3 px, of five: 1/5 at 0.6, 2/5 at 2, then level
    assert totals["auc_1"] == pytest.approx((0.6 / 8 + 0.4 / 4) / 1, abs=1e-4)
    assert totals["auc_3"] == pytest.approx((0.6 * 0.1 + 1.4 * 0.3 + 1 * 0.4) / 3, abs=1e-4)
    assert totals["failures"] == pytest.approx(3 / 5, abs=1e-4)
    assert (totals["n_1"], totals["n_3"]) == (4, 5)


def finite(errors) -> list[float]:
    return [error for error in errors if np.isfinite(error)] or [np.inf]


def test_the_totals_by_hand():
    totals_by_hand()


FAULTS = {
    "failures are dropped from the AUC": ("auc", lambda errors, t: metrics_auc(finite(errors), t)),
    "the threshold is ignored": ("auc", lambda errors, t: metrics_auc(errors, [5.0] * len(t))),
    "the curve is not held up to the threshold": ("auc", lambda errors, t: metrics_auc(errors, t) * 0.9),
    "failures are dropped from their share": ("failure_rate", lambda errors, t: np.mean(np.array(finite(errors)) > t)),
    "a missing transform is no failure": ("failure_rate", lambda errors, t: np.sum(np.array(finite(errors)) > t) / 5),
}
metrics_auc = summary.metrics.auc


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_are_caught(fault, monkeypatch):
    monkeypatch.setattr(summary.metrics, *FAULTS[fault])
    with pytest.raises(AssertionError):
        totals_by_hand()


def test_stale_predictions_are_not_scored_unless_asked_for(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(summary, "RESAMPLES", 20)
    predict.predict(ORACLE, FolderPairs(folder), tmp_path / "predictions")
    arguments = ["--pairs", str(folder), "--matchers", ORACLE, "--predictions", str(tmp_path / "predictions")]
    arguments += ["--tables", str(tmp_path / "t"), "--results", str(tmp_path / "r")]
    assert score.main(arguments) == 0
    monkeypatch.setattr(predict, "code_sha256", lambda matcher: "other code")
    with pytest.raises(ParameterError, match="other weights, code or pairs"):
        score.main(arguments)
    assert score.main([*arguments, "--as-they-are"]) == 0


def test_a_map_of_confidences_makes_predictions_stale(folder, tmp_path, monkeypatch):
    predict.predict(ORACLE, FolderPairs(folder), tmp_path)
    monkeypatch.setattr(Oracle, "calibration", Calibration((0, 1), (0, 0.5)), raising=False)
    predict.predict(ORACLE, FolderPairs(folder), tmp_path)
    assert Oracle.calls == 8


def test_the_record_has_modalities(monkeypatch):
    monkeypatch.setattr(summary, "RESAMPLES", 20)
    scores = [made_score(k, modality=("sem", "tem")[k % 2], matcher=m) for k in range(5) for m in ("a", "b")]
    found = summary.summarise_modalities(scores)
    assert list(found) == ["sem", "tem"] and set(found["tem"]) == {"a", "b"} and found["sem"]["a"]["n"] == 3


def test_thresholds_are_read_and_checked():
    rows = [{"auc_3": 0.1, "failures": 0.5}, {"auc_3": 0.4, "failures": 0.3}]
    assert threshold.choose({"easy": rows}, (0.1, 0.2))["best"] == 0.2
    for bad in ("a", "", "0.2,0.1", "0.1,1", "-0.1"):
        with pytest.raises(ParameterError, match="Thresholds"):
            threshold.main(["--thresholds", bad])


def test_the_threshold_of_shipped_weights_is_their_presets():
    for name in ("micro", "one_conv"):
        assert load_model(shipped(name)).config.threshold == PRESETS[name].threshold
    assert PRESETS["one_conv"].threshold == read_result("threshold_one_conv")["values"]["best"]
    chosen = model_config({"preset": "one_conv", "backbone": "one_conv", "window": 0, "threshold": 0.3})
    assert chosen.threshold == 0.3
