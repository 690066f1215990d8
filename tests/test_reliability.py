"""Reliability, verdicts, the worst pairs and the fitted map, on the fixed pairs of two small made-up micrographs."""

import json
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
from microloftr.evaluation.metrics import distances
from microloftr.evaluation.predictions import load_predictions
from microloftr.evaluation.protocols import LEVEL_NAMES, MadePairs
from microloftr.evaluation.unrelated import UnrelatedPairs, strangers
from microloftr.evaluation.verdicts import shares, verdicts
from microloftr.images import as_image
from microloftr.matches import Matches

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
    sums = reliability.sums_by_source(file, pairs, 3)
    assert set(sums) == {"specimen 0", "specimen 1"} and sums["specimen 0"].shape == (10, 3)
    told = reliability.reliability(sums)
    assert told["matches"] == 300 * PER_LEVEL and told["ece"] < 0.06
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
    told = reliability.reliability(reliability.sums_by_source(file, pairs, 3))
    assert told["ece"] == pytest.approx(0.9 - told["right"], abs=1e-3) and told["ece"] > 0.3
    assert [one["matches"] for one in told["bins"]][:8] == [0] * 8 and told["bins"][0]["right"] is None


def test_verdicts_on_matching_and_on_unrelated_pairs(store, tmp_path, monkeypatch):
    pairs, unrelated = MadePairs("easy", store=store), UnrelatedPairs(store=store)
    told = shares(verdicts(predicted(store, tmp_path, pairs), pairs))
    assert (told["n"], told["given"], told["right"], told["wrong"]) == (PER_LEVEL, 1, 1, 0)
    silent = shares(verdicts(predicted(store, tmp_path, unrelated), unrelated))
    assert silent["given"] == silent["given_high"] == 0 and "right" not in silent
    monkeypatch.setattr(Knowing, "always", True)
    always = load_predictions(predict.predict(NAME, unrelated, tmp_path / "always"))
    assert shares(verdicts(always, unrelated))["given"] == 1


def test_no_transform_is_neither_right_nor_wrong(store, tmp_path):
    pairs = MadePairs("easy", limit=2, store=store)
    file = predicted(store, tmp_path, pairs)
    file.points_1[:] = file.points_1[::-1]  # points of other places: nothing agrees
    told = shares(verdicts(file, pairs))
    assert told["right"] == told["given"] == told["wrong"] == 0


def test_the_record_and_the_figure(here, capsys):
    arguments = ["--matchers", NAME, "--results", str(here), "--figure", str(here / "reliability.png")]
    assert reliability.main(arguments) == 0
    text = (here / "reliability.json").read_text()
    assert str(here) not in text
    told = json.loads(text)["values"]["matchers"][predict.matcher_key(NAME)]
    assert set(told["levels"]) == {*LEVEL_NAMES, "all"} and set(told["verdicts"]) == {*LEVEL_NAMES, "all", "unrelated"}
    assert told["verdicts"]["all"]["n"] == told["verdicts"]["unrelated"]["n"] == 3 * len(LEVEL_NAMES)
    shown = capsys.readouterr().out
    assert "0 % [0 %, 0 %]" in shown and "of 12 matching pairs" in shown and "for 12 pairs of two specimens" in shown
    with Image.open(here / "reliability.png") as figure:
        assert figure.width >= 900


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
