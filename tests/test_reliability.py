"""Reliability, verdicts, the worst pairs and the fitted map, on the fixed pairs of two small made-up micrographs."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from microloftr.data import fixed
from microloftr.data.atlas import build_atlas
from microloftr.data.micrographs import Micrograph
from microloftr.errors import ParameterError
from microloftr.evaluation import calibrate, predict, reliability, stored, worst
from microloftr.evaluation.diagram import diagram, sums_by_source
from microloftr.evaluation.metrics import distances
from microloftr.evaluation.predictions import load_predictions
from microloftr.evaluation.protocols import LEVEL_NAMES, MadePairs
from microloftr.evaluation.unrelated import UnrelatedPairs, strangers
from microloftr.evaluation.verdicts import Verdict, shares, shares_of_groups, verdicts
from microloftr.images import as_image
from microloftr.matches import Matches
from microloftr.results import write_result

PER_LEVEL = 6  # two micrographs and a third: of one specimen with the first
TRUTHS: dict[bytes, np.ndarray] = {}


class Knowing:
    """Knows the truth of a pair by its images. Says a confidence c, and is right with the probability c."""

    always = False  # True: also gives the identity where there is no truth

    def match(self, image_0, image_1) -> Matches:
        sizes = [as_image(image).pixels.shape[::-1] for image in (image_0, image_1)]
        truth = TRUTHS.get(np.asarray(image_0).tobytes()[:999] + np.asarray(image_1).tobytes()[:999])
        generator = np.random.default_rng(int(np.asarray(image_0)[:40].sum()))  # another one for each pair
        count = 0 if truth is None and not self.always else 300
        points_0 = generator.uniform(20, 299, size=(count, 2))
        points_1 = points_0.copy()
        if count and truth is not None:
            points_1 = cv2.perspectiveTransform(points_0[None], truth)[0]
        confidence = generator.uniform(size=count)
        wrong = generator.uniform(size=count) > confidence
        points_1[wrong] += generator.uniform(30, 90, size=(wrong.sum(), 2))
        return Matches(points_0, points_1, confidence, *sizes)


NAME = f"{__name__}.Knowing"


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    """The fixed pairs of all levels, of three micrographs of two specimens, kept in a folder."""
    generator = np.random.default_rng(0)
    textures = [cv2.GaussianBlur(generator.integers(0, 255, (640, 640), dtype=np.uint8), (0, 0), 3) for _ in range(3)]
    few = [
        Micrograph(f"m{k}", "validation", f"specimen {k // 2}", ("sem", "sem", "tem")[k], texture)
        for k, texture in enumerate(textures)
    ]
    folder = tmp_path_factory.mktemp("pairs")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(fixed, "split_atlas", lambda split: build_atlas(few))
        patched.setattr(fixed, "PER_MICROGRAPH", 2)
        for level in LEVEL_NAMES:
            pairs = MadePairs(level, store=folder)
            assert len(pairs) == PER_LEVEL
            for pair in pairs:
                TRUTHS[pair.image_0.tobytes()[:999] + pair.image_1.tobytes()[:999]] = pair.homography
    return folder


@pytest.fixture
def here(store, tmp_path, monkeypatch) -> Path:
    """Commands find the kept pairs, and write into a folder of their own."""
    for module in (reliability, worst, calibrate):
        monkeypatch.setattr(module, "pairs_folder", lambda: store)
    for module in (reliability, worst):
        monkeypatch.setattr(module, "predictions_folder", lambda: tmp_path / "predictions")
    return tmp_path


def test_kept_pairs_are_the_made_ones_and_stale_ones_are_made_anew(store, monkeypatch, tmp_path):
    path = store / "easy_validation.npz"
    kept = MadePairs("easy", store=store)
    few = MadePairs("easy", limit=2, store=store)
    assert len(few) == 2 and np.array_equal(few[1].image_1, kept[1].image_1) and few[1].id == kept[1].id

    made, whole = [], kept._pairs
    monkeypatch.setattr(fixed, "fixed_pairs", lambda *given: made.append(given) or whole)
    other = tmp_path / path.name
    for number, spoilt in enumerate((b"", path.read_bytes()[:2000])):
        other.write_bytes(spoilt)
        assert np.array_equal(MadePairs("easy", store=tmp_path)[2].image_0, kept[2].image_0)
        assert len(made) == number + 1
    assert len(MadePairs("easy", store=tmp_path)) == PER_LEVEL and len(made) == 2
    monkeypatch.setattr(stored, "source_sha256", lambda: "another version of the code that makes them")
    assert len(MadePairs("easy", store=tmp_path)) == PER_LEVEL and len(made) == 3


def test_unrelated_pairs_show_two_specimens(store):
    pairs = list(UnrelatedPairs(store=store))
    assert len(pairs) == 3 * len(LEVEL_NAMES) and len({pair.id for pair in pairs}) == len(pairs)
    specimens = {"m0": 0, "m1": 0, "m2": 1}
    for pair in pairs:
        first, second = pair.id.split("-")[1:]
        assert specimens[first] != specimens[second]
        assert np.isnan(pair.homography).all() and pair.image_0.shape == (320, 320)
    assert [pair.id for pair in pairs] == [pair.id for pair in UnrelatedPairs(store=store)]
    assert len(UnrelatedPairs(limit=5, store=store)) == 5


def test_strangers_of_one_modality_come_first():
    class Few:
        micrograph = tuple("abcd")
        specimen = ("1", "1", "2", "3")
        modality = ("sem", "tem", "tem", "sem")

    assert strangers(Few, 0) == [3, 2, 1, 0]
    assert strangers(Few, 1) == [2, 3, 3, 1]


def predicted(store, tmp_path, pairs, name=NAME):
    return load_predictions(predict.predict(name, pairs, tmp_path / "predictions"))


def test_a_matcher_that_is_as_sure_as_it_is_right(store, tmp_path):
    pairs = MadePairs("easy", store=store)
    file = predicted(store, tmp_path, pairs)
    sums = sums_by_source(reliability.told_matches(file, pairs), 3)
    assert set(sums) == {"specimen 0", "specimen 1"} and sums["specimen 0"].shape == (10, 7)
    told = diagram(sums)
    assert told["matches"] == 300 * PER_LEVEL and told["ece"] < 0.06
    assert told["ece_pairs"] == pytest.approx(told["ece"], abs=1e-3) and told["ece_below"] < 0.07
    assert told["matches_below"] == sum(one["matches"] for one in told["bins"][:9])
    assert {one["pairs"] for one in told["bins"]} == {PER_LEVEL}
    for k, one in enumerate(told["bins"]):
        assert one["confidence"] == pytest.approx(0.1 * k + 0.05, abs=0.02)
        assert one["right"] == pytest.approx(one["confidence"], abs=0.25)
        assert one["right_low"] <= one["right"] <= one["right_high"]
    by_hand = np.concatenate([distances(pair.homography, *file.points(k)) < 3 for k, pair in enumerate(pairs)])
    assert told["right"] == pytest.approx(by_hand.mean(), abs=1e-4)


def test_an_overconfident_matcher_is_told(store, tmp_path):
    pairs = MadePairs("easy", store=store)
    file = predicted(store, tmp_path, pairs)
    file.confidence[:] = 0.9
    told = diagram(sums_by_source(reliability.told_matches(file, pairs), 3))
    assert told["ece"] == pytest.approx(0.9 - told["right"], abs=1e-3) and told["ece"] > 0.3
    assert [one["matches"] for one in told["bins"]][:8] == [0] * 8 and told["bins"][0]["right"] is None


def test_a_few_modest_pairs_are_lost_among_the_matches_and_found_by_pair():
    sure = [(f"s{k}", np.full(1000, 0.99), np.zeros(1000)) for k in range(9)]
    modest = ("s9", np.full(10, 0.3), np.zeros(10))  # says .3, and all ten are right
    told = diagram(sums_by_source([*sure, modest], 3))
    assert told["ece"] < 0.012
    assert told["ece_pairs"] == pytest.approx(0.9 * 0.01 + 0.1 * 0.7, abs=1e-3)
    assert told["ece_below"] == pytest.approx(0.7) and told["matches_below"] == 10 and told["weight_below"] == 1
    assert (told["bins"][3]["pairs"], told["bins"][3]["confidence"], told["bins"][3]["right"]) == (1, 0.3, 1)


def test_real_pairs_count_where_their_truth_is_good_enough():
    nan, inf = float("nan"), float("inf")
    told = shares_of_groups(
        [Verdict("a", "tiles", "s", "rigid", 1.0), Verdict("b", "tiles", "t", "rigid", 30.0)]
        + [Verdict("c", "tiles", "u", None, inf), Verdict("d", "tiles", "u", "rigid", nan)]
        + [Verdict("e", "stains", "v", "affine", nan), Verdict("f", "generic", "w", "affine", 1.0)]
    )
    assert list(told) == ["tiles", "stains", "generic", "all"]
    third = pytest.approx(1 / 3, abs=1e-4)
    for group in ("tiles", "all"):
        assert (told[group]["n"], told[group]["right"], told[group]["wrong"]) == (3, third, third)
        assert told[group]["given"] == pytest.approx(2 / 3, abs=1e-4)
    assert (told["tiles"]["of"], told["all"]["of"]) == (4, 5)
    assert told["stains"]["given"] == 1 and "right" not in told["stains"]


def test_verdicts_on_matching_and_on_unrelated_pairs(store, tmp_path, monkeypatch):
    pairs, unrelated = MadePairs("easy", store=store), UnrelatedPairs(store=store)
    told = shares(verdicts(predicted(store, tmp_path, pairs), pairs))
    assert (told["n"], told["given"], told["right"], told["wrong"]) == (PER_LEVEL, 1, 1, 0)
    silent = shares(verdicts(predicted(store, tmp_path, unrelated), unrelated))
    assert silent["given"] == silent["given_high"] == 0 and "right" not in silent
    monkeypatch.setattr(Knowing, "always", True)
    always = load_predictions(predict.predict(NAME, unrelated, tmp_path / "always"))
    assert shares(verdicts(always, unrelated))["given"] == 1


def test_a_verdict_over_the_overlap(store, tmp_path):
    class Coarse:  # the truth is good to 2 px only
        def __init__(self, pairs):
            self.pairs = [replace(pair, accuracy_px=2.0 * (k % 2)) for k, pair in enumerate(pairs)]

        def __iter__(self):
            return iter(self.pairs)

    pairs = MadePairs("easy", store=store)
    file = predicted(store, tmp_path, pairs)
    corners, overlap = ([one.error_px for one in verdicts(file, pairs, kind)] for kind in ("corners", "overlap"))
    assert max(overlap) < max(corners) < 1
    assert [np.isnan(one.error_px) for one in verdicts(file, Coarse(pairs), "overlap")] == [False, True] * 3


def test_no_transform_is_neither_right_nor_wrong(store, tmp_path):
    pairs = MadePairs("easy", limit=2, store=store)
    file = predicted(store, tmp_path, pairs)
    file.points_1[:] = file.points_1[::-1]  # points of other places: nothing agrees
    told = shares(verdicts(file, pairs))
    assert told["right"] == told["given"] == told["wrong"] == 0


def real_pairs(folder: Path, store: Path) -> Path:
    """Two made pairs as a folder of real ones, one of a coarse truth."""
    folder.mkdir()
    rows = []
    for number, pair in enumerate(MadePairs("easy", limit=2, store=store)):
        for k, image in enumerate((pair.image_0, pair.image_1)):
            Image.fromarray(image).save(folder / f"{number}_{k}.png")
        rows.append({"id": str(number), "image_0": f"{number}_0.png", "image_1": f"{number}_1.png", "group": "tiles",
                     "homography": pair.homography.tolist(), "accuracy_px": (0.5, 5.0)[number]})  # fmt: skip
    (folder / "pairs.json").write_text(json.dumps(rows))
    return folder


def test_the_record_and_the_figure(here, store, capsys):
    real = real_pairs(here / "real", store)
    arguments = ["--matchers", NAME, "--results", str(here), "--figure", str(here / "reliability.png")]
    assert reliability.main([*arguments, "--real", str(real)]) == 0
    text = (here / "reliability.json").read_text()
    assert str(here) not in text
    told = json.loads(text)["values"]["matchers"][predict.matcher_key(NAME)]
    assert set(told["levels"]) == {*LEVEL_NAMES, "all"} and set(told["verdicts"]) == {*LEVEL_NAMES, "all", "unrelated"}
    assert told["verdicts"]["all"]["n"] == told["verdicts"]["unrelated"]["n"] == 3 * len(LEVEL_NAMES)
    assert (told["real"]["tiles"]["n"], told["real"]["all"]["of"]) == (1, 2) and "cross_fitted" not in told
    shown = capsys.readouterr().out
    assert "0 % [0 %, 0 %]" in shown and "of 12 matching pairs" in shown and "for 12 pairs of two specimens" in shown
    assert "of the 1 of 2 pairs of micrographs whose truth is good to 1.5 px" in shown
    with Image.open(here / "reliability.png") as figure:
        assert figure.width >= 900 and figure.height > 1000


def test_the_error_on_other_specimens_is_taken_from_the_record_of_the_very_map(tmp_path):
    calibration = calibrate.Calibration((0, 0.5, 1), (0, 0.7, 1))
    assert reliability.cross_fitted("micro", None, tmp_path) == {}
    assert reliability.cross_fitted("micro", calibration, tmp_path) == {}  # there is no record
    values = {"knots_x": [0, 0.5, 1], "knots_y": [0, 0.7, 1], "cross_fitted": {"within_3": {}}}
    write_result("calibration", values, command="", folder=tmp_path)
    assert reliability.cross_fitted("micro", calibration, tmp_path) == {"cross_fitted": {"within_3": {}}}
    assert reliability.cross_fitted("micro", calibrate.Calibration((0, 1), (0, 1)), tmp_path) == {}


def test_every_fold_is_told_by_a_map_of_the_others():
    def pairs(truth):  # of a specimen: says .3, right as often as `truth` says
        return [(np.full(100, 0.3), np.where(np.arange(100) < 100 * truth, 0.0, 99.0))] * 2

    found = {"a": pairs(0.2), "b": pairs(0.8)}
    told = calibrate.cross_fitted(found)
    assert told["a"][0][0] == pytest.approx(np.full(100, 0.8)) and told["b"][1][0] == pytest.approx(np.full(100, 0.2))
    _, values = calibrate.calibrate(found)
    assert values["ece_below_after"] == pytest.approx(0.6) and values["folds"] == 2  # the very same map would say 0
    assert values["pairs"] == 4 and values["cross_fitted"]["within_3"]["matches"] == values["matches"] == 400


def test_the_worst_pairs_come_first(store, here, capsys):
    protocols = [MadePairs(level, store=store) for level in ("easy", "medium")]
    files = [predicted(store, here, one) for one in protocols]
    last = slice(files[1].offsets[-2], None)
    files[1].points_1[last] += [25.0, 0]
    files[0].points_1[: files[0].offsets[1]] = files[0].points_1[0]
    shown = worst.worst(files, protocols, 3)
    assert [one.id for one in shown[:2]] == [protocols[0][0].id, protocols[1][PER_LEVEL - 1].id]
    assert not shown[0].error_px < 10 and shown[1].error_px == pytest.approx(25, rel=0.2) and shown[2].error_px < 1
    assert shown[1].precision_3 < 0.1 and shown[1].told()["matches"] == 300

    arguments = ["--matcher", NAME, "--count", "3", "--out", str(here / "worst.png"), "--results", str(here)]
    assert worst.main(arguments) == 0
    key = predict.matcher_key(NAME)
    rows = json.loads((here / f"worst_{key}.json").read_text())["values"]["pairs"]
    told = capsys.readouterr().out
    assert len(rows) == 3 and all(row["id"] in told for row in rows)
    with Image.open(here / "worst.png") as figure:
        assert figure.height > 800
    with pytest.raises(ParameterError, match="1 to 20"):
        worst.main(["--count", "0"])


def test_a_map_is_fitted_and_told_on_other_specimens(here, monkeypatch):
    class Sure(Knowing):
        """As `Knowing`, but each confidence is said as its root: overconfident."""

        calibration = "a map of its own"

        def match(self, image_0, image_1) -> Matches:
            assert self.calibration is None
            found = super().match(image_0, image_1)
            return Matches(found.points_0, found.points_1, np.sqrt(found.confidence), found.size_0, found.size_1)

    made = []
    monkeypatch.setattr(calibrate.Matcher, "from_pretrained", lambda name, **options: made.append(options) or Sure())
    arguments = ["--weights", "sure", "--limit", "3", "--out", str(here / "map.json"), "--results", str(here)]
    assert calibrate.main(arguments) == 0
    values = json.loads((here / "calibration_sure.json").read_text())["values"]
    assert made == [{"threshold": 0.02}] and values["ece_before"] > 0.1 and values["ece_after"] < 0.06
    assert calibrate.Calibration.load(here / "map.json").apply(np.array([0.5]))[0] == pytest.approx(0.25, abs=0.12)
