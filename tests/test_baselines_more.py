"""The other baselines: each registers a small made pair, or says what it needs; and anybody's own, in ten lines."""

import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from microloftr.errors import ParameterError, WeightsError
from microloftr.evaluation import baseline_record, predict_and_score, summary
from microloftr.evaluation.baselines import binary
from microloftr.evaluation.baselines.aliked_lightglue import DETECTOR, MATCHER, AlikedLightGlue, loaded
from microloftr.evaluation.baselines.binary import AKAZE, ORB, mutual_binary
from microloftr.evaluation.baselines.common import correlation_under, matches_of
from microloftr.evaluation.baselines.ecc import ECC
from microloftr.evaluation.baselines.kornia_loftr import KorniaLoFTR
from microloftr.evaluation.baselines.kornia_registrator import KorniaRegistrator
from microloftr.evaluation.identity import code_sha256, imported_files, resize_of, weights_sha256
from microloftr.evaluation.matchers import BASELINES, get_matcher, matcher_key, public_name
from microloftr.evaluation.metrics import corner_error
from microloftr.images import as_image
from microloftr.matches import Matches
from microloftr.registration.families import find_homography
from microloftr.results import read_result
from tests.test_baselines import specimen

SIZE = (150, 130)
SHIFTED = np.array([[1, 0, -3.3], [0, 1, 2.4], [0, 0, 1]])


def turned(angle: float, scale: float = 1.0, size: tuple[int, int] = SIZE) -> np.ndarray:
    """The homography that turns an image around its middle."""
    matrix = np.vstack([cv2.getRotationMatrix2D(tuple((np.array(size) - 1) / 2), angle, scale), [0, 0, 1]])
    matrix[:2, 2] += [2.3, -1.6]
    return matrix


@pytest.fixture(scope="module")
def micrograph() -> np.ndarray:
    return specimen(*SIZE)


def seen(image: np.ndarray, homography: np.ndarray) -> np.ndarray:
    return cv2.warpPerspective(image, homography, SIZE, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT).clip(0, 1)


def error(matcher, image_0: np.ndarray, image_1: np.ndarray, true: np.ndarray) -> float:
    matches = matcher.match(image_0, image_1)
    assert isinstance(matches, Matches) and (matches.size_0, matches.size_1) == (SIZE, SIZE)
    found, _ = find_homography(matches.points_0, matches.points_1, 2.0)
    return corner_error(found, true, SIZE)


@pytest.mark.parametrize(
    "name, angle, bound",
    [
        ("rootsift", 40, 0.3),
        ("orb", 40, 2.5),
        ("rootsift_ecc", 40, 0.1),
        ("ecc", 0, 0.1),
        ("phase_correlation", 0, 0.2),
        ("kornia_hessian", 20, 0.5),
        ("kornia_sift", 20, 2.0),
    ],
)
def test_each_baseline_registers_a_small_pair(micrograph, name, angle, bound):
    if angle:
        true, other = turned(angle), seen(micrograph, turned(angle))
    else:
        true, other = SHIFTED, specimen(*SIZE, 3.3, -2.4)
    assert error(get_matcher(name), micrograph, other, true) < bound


def test_the_registrator_finds_its_way_from_nearby(micrograph):
    """Gradient descent from the identity: some pixels away it arrives, at 40° it does not."""
    small = specimen(64, 56)
    matches = KorniaRegistrator(steps=40, levels=2, rate=3e-3).match(small, specimen(64, 56, 1.3, -0.8))
    assert np.median(matches.points_1 - matches.points_0, axis=0) == pytest.approx([-1.3, 0.8], abs=0.3)
    assert matches.confidence.min() > 0.95
    far = KorniaRegistrator(steps=5, levels=2).match(small, np.rot90(specimen(56, 64, 200, 200)).copy())
    assert len(far) == 0 or far.confidence.max() < 0.5


def test_orb_stands_at_pixel_centres(micrograph):
    """Points of its shrunk copies are half a scale step off as OpenCV tells them, which a half turn doubles."""
    big = specimen(220, 180)
    half_turn = np.ascontiguousarray(np.rot90(big, 2))

    def bias(matcher: ORB) -> float:
        matches = matcher.match(big, half_turn)
        difference = matches.points_1 - ([219, 179] - matches.points_0)
        right = np.hypot(*difference.T) < 3
        assert right.sum() > 100
        return float(np.hypot(*difference[right].mean(axis=0)))

    assert bias(ORB()) < 0.2 < 0.4 < bias(ORB(centred=False))


def test_ecc_bears_gain_and_offset_and_says_nothing_of_a_constant(micrograph):
    other = 0.3 + 0.4 * specimen(*SIZE, 3.3, -2.4)
    assert error(ECC(), micrograph, other, SHIFTED) < 0.1
    for pair in ((np.full((64, 80), 0.5), micrograph), (micrograph, np.zeros((64, 80)))):
        for start in ("phase_correlation", "rootsift"):
            assert len(ECC(start).match(*pair)) == 0
    with pytest.raises(ParameterError, match="phase_correlation or rootsift"):
        ECC("identity")


def test_ecc_is_finer_than_what_it_starts_from(micrograph):
    true = turned(25, 1.1)
    other = seen(micrograph, true)
    start = error(get_matcher("rootsift"), micrograph, other, true)
    assert error(get_matcher("rootsift_ecc"), micrograph, other, true) < start


@pytest.mark.parametrize("name", ["orb", "ecc", "kornia_sift", "kornia_hessian", "kornia_registrator"])
def test_a_constant_image_has_no_matches(name):
    matches = get_matcher(name).match(np.full((64, 80), 0.5), specimen(80, 64))
    assert len(matches) == 0 and matches.points_0.shape == (0, 2)


def test_mutual_binary_by_hand():
    rows = np.array([[0b00001111], [0b11110000], [0b11111111]], np.uint8)
    others = np.array([[0b11110001], [0b00001111]], np.uint8)
    index_0, index_1, confidence = mutual_binary(rows, others, 0.9)
    # row 0 is row 1 of the others (0 bits off, else 7), row 1 is row 0 (1, else 8); row 2 likes row 0, which has row 1
    assert (index_0.tolist(), index_1.tolist()) == ([0, 1], [1, 0])
    assert confidence == pytest.approx([1, 1 - 1 / 8])
    assert mutual_binary(rows, others, 0.1)[0].tolist() == [0]
    assert mutual_binary(rows[:1], others, 0.9)[0].tolist() == []


def test_a_transform_becomes_a_grid_that_image_1_shows():
    images = as_image(np.zeros((48, 64))), as_image(np.zeros((32, 40)))
    matches = matches_of(np.array([[1, 0, -20.0], [0, 1, 0], [0, 0, 1]]), 1.7, *images)
    assert matches.points_0.tolist() == [[24, 8], [40, 8], [56, 8], [24, 24], [40, 24], [56, 24]]
    assert (matches.points_0 - matches.points_1).tolist() == [[20, 0]] * 6 and matches.confidence.tolist() == [1] * 6


def test_correlation_is_that_of_the_part_both_show(micrograph):
    assert correlation_under(SHIFTED, micrograph, specimen(*SIZE, 3.3, -2.4)) > 0.99
    assert correlation_under(np.eye(3), micrograph, 1 - micrograph) == pytest.approx(-1)
    assert correlation_under(np.eye(3), micrograph, np.full_like(micrograph, 0.5)) == 0
    away = np.array([[1, 0, 500.0], [0, 1, 0], [0, 0, 1]])
    assert correlation_under(away, micrograph, micrograph) == 0


def test_akaze_runs_where_opencv_has_it_and_says_so_where_not(micrograph, monkeypatch):
    without = SimpleNamespace(__version__="5.0.0")
    monkeypatch.setattr(binary, "cv2", without)
    with pytest.raises(WeightsError, match=r"5\.0\.0 has none") as caught:
        get_matcher("akaze")
    assert "\n" not in str(caught.value)
    asked = []

    def create(**options):  # another detector with binary descriptors in its place
        asked.append(options)
        return cv2.ORB_create(2000, fastThreshold=5)

    for place in ({"AKAZE_create": create}, {"xfeatures2d": SimpleNamespace(AKAZE_create=create)}):
        monkeypatch.setattr(
            binary, "cv2", SimpleNamespace(**place, BFMatcher=cv2.BFMatcher, NORM_HAMMING=cv2.NORM_HAMMING)
        )
        assert error(AKAZE(threshold=1e-4), micrograph, specimen(*SIZE, 3.3, -2.4), SHIFTED) < 2.5
    assert asked == [{"threshold": 1e-4}] * 2


class Unsafe:
    """Something that a file of weights must not hold."""


@pytest.mark.parametrize("name", ["kornia_loftr", "kornia_loftr:gone.ckpt", "aliked_lightglue:gone"])
def test_weights_that_are_missing_are_one_clear_sentence(name):
    with pytest.raises(WeightsError) as caught:
        get_matcher(name)
    assert "\n" not in str(caught.value) and name.partition(":")[0] in str(caught.value)


def test_files_that_are_no_weights_are_told(tmp_path):
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.ckpt")
    torch.save(Unsafe(), tmp_path / "unsafe.ckpt")
    (tmp_path / "damaged.ckpt").write_bytes(b"nothing")
    for name in ("other", "unsafe", "damaged"):
        with pytest.raises(WeightsError, match="no checkpoint of LoFTR"):
            KorniaLoFTR(tmp_path / f"{name}.ckpt")
        for file in (DETECTOR, MATCHER):
            (tmp_path / file).write_bytes((tmp_path / f"{name}.ckpt").read_bytes())
        with pytest.raises(WeightsError, match=r"holds no weights"):
            AlikedLightGlue(tmp_path)


def test_kornias_loftr_is_read_from_a_file_and_its_points_are_moved_to_our_frame(tmp_path, monkeypatch):
    """Random weights find nothing; what the network says is replaced to see the frame."""
    from kornia.feature import LoFTR

    torch.manual_seed(0)
    model = LoFTR(pretrained=None)
    state = {f"matcher.{key}": value for key, value in model.state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "my.ckpt")
    matcher = get_matcher(f"kornia_loftr:{tmp_path / 'my.ckpt'}")
    assert torch.equal(matcher.model.state_dict()["backbone.conv1.weight"], model.state_dict()["backbone.conv1.weight"])
    assert weights_sha256(matcher) is not None and "kornia" in matcher.options
    pair = specimen(72, 64), specimen(64, 72)
    found = matcher.match(*pair)
    assert isinstance(found, Matches) and (found.size_0, found.size_1) == ((72, 64), (64, 72))
    said = {"keypoints0": torch.tensor([[8.0, 16.0]]), "keypoints1": torch.tensor([[9.5, 17.0]])}
    monkeypatch.setattr(matcher.model, "forward", lambda data: said | {"confidence": torch.tensor([0.7])})
    found = matcher.match(*pair)
    assert found.points_0.tolist() == [[7.5, 15.5]] and found.points_1.tolist() == [[9.0, 16.5]]
    assert found.confidence == pytest.approx([0.7])
    assert len(matcher.match(specimen(72, 20), pair[1])) == 0


@pytest.fixture(scope="module")
def aliked(tmp_path_factory) -> AlikedLightGlue:
    """ALIKED and LightGlue from files of random weights, the matcher's under the names of the published file."""
    from kornia.feature import ALIKED, LightGlue

    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    torch.save(ALIKED("aliked-n16").state_dict(), folder / DETECTOR)
    state = LightGlue(None, input_dim=128, weights=None).state_dict()
    published = {}
    for key, value in state.items():
        parts = key.split(".")
        if parts[0] == "transformers":
            parts = [parts[2], parts[1], *parts[3:]]
        published[".".join(parts)] = value
    torch.save(published, folder / MATCHER)
    matcher = get_matcher(f"aliked_lightglue:{folder}")
    assert torch.equal(matcher.model["matcher"].state_dict()[key], state[key])
    return matcher


def test_aliked_and_lightglue_run_from_files(aliked, micrograph):
    """Untrained, they find what they find; it must be well-formed, and the points inside the images."""
    matches = aliked.match(micrograph, specimen(100, 90, 3.3, -2.4))
    assert isinstance(matches, Matches) and matches.size_1 == (100, 90)
    for points, size in ((matches.points_0, matches.size_0), (matches.points_1, matches.size_1)):
        assert (points >= 0).all() and (points <= np.array(size) - 1).all()
    assert len(aliked.match(micrograph, np.zeros((20, 40)))) == 0


def test_matches_of_lightglue_are_read_in_their_order(aliked, micrograph, monkeypatch):
    """The detector's points and LightGlue's indices and scores, whatever they are, end where they belong."""
    features = [torch.rand(5, 2) * 60, torch.rand(4, 2) * 60]
    answers = iter([SimpleNamespace(keypoints=f, descriptors=torch.rand(len(f), 128)) for f in features])
    monkeypatch.setattr(aliked.model["detector"], "forward", lambda image: [next(answers)])
    said = {"matches": [torch.tensor([[4, 0], [1, 3]])], "scores": [torch.tensor([0.9, 0.4])]}
    monkeypatch.setattr(aliked.model["matcher"], "forward", lambda data: said)
    matches = aliked.match(micrograph, micrograph)
    assert matches.points_0 == pytest.approx(features[0][[4, 1]].numpy())
    assert matches.points_1 == pytest.approx(features[1][[0, 3]].numpy())
    assert matches.confidence == pytest.approx([0.9, 0.4])


def test_weights_with_a_part_missing_are_told(tmp_path):
    model = torch.nn.Linear(3, 2)
    torch.save({"weight": model.weight}, tmp_path / "part.pth")
    with pytest.raises(WeightsError, match="it lacks bias"):
        loaded(model, tmp_path / "part.pth")


def test_a_missing_package_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "kornia.feature", None)
    with pytest.raises(WeightsError, match=r"package kornia: pip install -e '\.\[peers\]'"):
        get_matcher("kornia_hessian")


def test_names_of_baselines_keep_places_to_themselves():
    assert public_name("aliked_lightglue:/somewhere/else") == "aliked_lightglue" == matcher_key("aliked_lightglue:/a/b")
    assert public_name("kornia_loftr:my.ckpt") == "kornia_loftr" == matcher_key("kornia_loftr:my.ckpt")
    assert matcher_key("runs/mine.safetensors") == "mine" and public_name("runs/mine.safetensors") == "mine.safetensors"
    with pytest.raises(WeightsError):
        get_matcher("rootsift:here")


@pytest.mark.parametrize("name", sorted(set(BASELINES) - {"xfeat", "akaze", "kornia_loftr", "aliked_lightglue"}))
def test_a_baseline_is_identified_by_its_own_file(name):
    matcher = get_matcher(name)
    assert resize_of(matcher).startswith("none") and len(code_sha256(matcher)) == 64
    files = {Path(file).name for file in imported_files(sys.modules[type(matcher).__module__].__file__)}
    assert Path(sys.modules[type(matcher).__module__].__file__).name in files and "matching.py" not in files


OWN = """
import numpy as np
from microloftr import Matches


class MyMatcher:
    def match(self, image_0, image_1):
        size_0, size_1 = (image.shape[::-1] for image in (image_0, image_1))
        points = np.random.default_rng(0).uniform(0, min(size_0), (50, 2))
        return Matches(points, points + [5, -3], np.full(50, 0.5), size_0, size_1)
"""


def test_a_matcher_from_outside_in_ten_lines(tmp_path, monkeypatch):
    """A package that knows nothing of the project but Matches is predicted and scored like any other, by its name."""
    (tmp_path / "my_package").mkdir()
    (tmp_path / "my_package" / "__init__.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    assert len(OWN.strip().splitlines()) <= 10
    matcher = get_matcher("my_package.MyMatcher")
    assert len(matcher.match(np.zeros((64, 64)), np.zeros((64, 64)))) == 50
    folder = tmp_path / "pairs"
    folder.mkdir()
    for k in range(2):
        cv2.imwrite(str(folder / f"{k}.png"), np.uint8(specimen(80, 70) * 255))
    (folder / "pairs.json").write_text(
        '[{"id": "a", "image_0": "0.png", "image_1": "1.png", "accuracy_px": 0, "homography": '
        "[[1, 0, 5], [0, 1, -3], [0, 0, 1]]}]"
    )
    monkeypatch.setattr(summary, "RESAMPLES", 20)
    arguments = ["--matchers", "my_package.MyMatcher", "--levels", "", "--real", str(folder)]
    predict_and_score.main([*arguments, "--runs", str(tmp_path / "runs"), "--results", str(tmp_path / "results")])
    values = read_result("evaluate_real", tmp_path / "results")["values"]
    assert values["groups"]["all"]["my_package_MyMatcher"]["auc_1"] == pytest.approx(1, abs=1e-3)


def test_the_record_of_all_baselines(tmp_path, monkeypatch, capsys):
    """On few made pairs; what cannot run is named with its reason, slow matchers have fewer pairs, no place is told."""
    pairs = SimpleNamespace(made=[])

    class Few(baseline_record.SomePairs):
        @property
        def _pairs(self):
            count = self.limit
            pairs.made.append((self.name, count))
            image = np.uint8(specimen(80, 70) * 255)
            images = np.stack([image] * count)
            truth = np.stack([np.eye(3)] * count)
            names = tuple(f"m{k}" for k in range(count))
            return SimpleNamespace(images_0=images, images_1=images, homography=truth, overlap=np.ones(count),
                                   micrograph=names, specimen=names, modality=("sem",) * count)  # fmt: skip

    monkeypatch.setattr(baseline_record, "SomePairs", Few)
    monkeypatch.setattr(baseline_record, "LEVEL_NAMES", ("easy",))
    monkeypatch.setattr(baseline_record, "SLOW", {"orb"})
    monkeypatch.setattr(summary, "RESAMPLES", 20)
    monkeypatch.delenv("MICROLOFTR_PAIRS", raising=False)
    place = str(tmp_path / "secret")
    arguments = ["--matchers", f"rootsift,kornia_loftr:{place},orb", "--per-level", "6"]
    baseline_record.main([*arguments, "--runs", str(tmp_path / "runs"), "--results", str(tmp_path)])
    record = read_result("baselines", tmp_path)
    values = record["values"]
    assert list(values["matchers"]) == ["rootsift", "orb"] and list(values["left_out"]) == ["kornia_loftr"]
    assert (values["levels"]["easy"]["rootsift"]["n"], values["levels"]["easy"]["orb"]["n"]) == (6, 3)
    assert values["levels"]["easy"]["rootsift"]["auc_3"] > 0.99
    shared = values["shared"]
    assert {one["n"] for one in shared["levels"]["easy"].values()} == {3}
    assert (shared["micrographs"], shared["modalities"]) == (["m0", "m2", "m4"], ["sem"])
    assert record["command"].endswith("--per-level 6 --matchers rootsift,kornia_loftr,orb")
    assert values["versions"]["cv2"].endswith("with contrib") == hasattr(cv2, "xfeatures2d")
    assert place not in (tmp_path / "baselines.json").read_text()
    out = capsys.readouterr().out
    assert "| rootsift | 6 |" in out and "| orb | 3 |" in out and "3 micrographs of 1 modalities (sem)" in out
    with pytest.raises(ParameterError, match="made or real pairs"):
        baseline_record.main(["--per-level", "0"])


def test_the_record_of_real_pairs_has_what_evaluate_lacks(tmp_path, monkeypatch):
    folder = tmp_path / "pairs"
    folder.mkdir()
    for k in range(2):
        cv2.imwrite(str(folder / f"{k}.png"), np.uint8(specimen(120, 100, 5.0 * k, -3.0 * k) * 255))
    truth = "[[1, 0, -5], [0, 1, 3], [0, 0, 1]]"
    row = '{"id": "a", "image_0": "0.png", "image_1": "1.png", "group": "tiles", "accuracy_px": 0, "homography": %s}'
    (folder / "pairs.json").write_text(f"[{row % truth}]")
    monkeypatch.setattr(summary, "RESAMPLES", 20)
    arguments = ["--per-level", "0", "--real", str(folder), "--matchers", "rootsift,orb"]
    baseline_record.main([*arguments, "--runs", str(tmp_path / "runs"), "--results", str(tmp_path)])
    record = read_result("baselines_real", tmp_path)
    assert list(record["values"]["matchers"]) == ["orb"] and record["split"] == "real"  # evaluate has RootSIFT
    assert {"akaze", "kornia_registrator", "aliked_lightglue"} <= set(record["values"]["not_asked"])
    assert not {"orb", "rootsift", "micro"} & set(record["values"]["not_asked"])
    assert list(record["values"]["groups"]) == ["tiles", "all"]
    assert record["values"]["groups"]["tiles"]["orb"]["auc_3"] > 0.6
    assert str(folder) not in (tmp_path / "baselines_real.json").read_text()
    assert not (tmp_path / "baselines.json").exists()


def test_features_share_one_body():
    """Points and descriptors in, matches out: only what describes and what compares differs."""
    from microloftr.evaluation.baselines.features import FeatureMatcher
    from microloftr.evaluation.baselines.kornia_features import KorniaFeatures
    from microloftr.evaluation.baselines.rootsift import RootSIFT

    class Corners(FeatureMatcher):
        def describe(self, pixels):
            return np.argwhere(pixels > 0.5)[:, ::-1].astype(float), pixels[pixels > 0.5]

        def mutual(self, descriptors_0, descriptors_1):
            near = np.abs(descriptors_0[:, None] - descriptors_1).argmin(1)
            return np.arange(len(near)), near, np.full(len(near), 0.5)

    image = np.zeros((20, 30))
    image[4, 6], image[11, 21] = 0.6, 0.9
    matches = Corners().match(image, np.roll(image, (2, 3), (0, 1)))
    assert matches.points_0.tolist() == [[6, 4], [21, 11]] and matches.points_1.tolist() == [[9, 6], [24, 13]]
    for kind in (RootSIFT, binary.BinaryFeatures, KorniaFeatures):
        assert issubclass(kind, FeatureMatcher) and "match" not in vars(kind)
    with pytest.raises(TypeError):
        FeatureMatcher()
