"""Protocols as loaders: tiny folders that the tests write, and what must come out of them to the last digit."""

import json
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
import pytest

from microloftr.errors import ParameterError
from microloftr.evaluation import predict_and_score, score, summary, whole_pairs
from microloftr.evaluation.hpatches import HPatchesPairs, scaling
from microloftr.evaluation.landmark_pairs import LandmarkPairs, read_points
from microloftr.evaluation.metrics import apply_homography, corners
from microloftr.evaluation.predict import predict
from microloftr.evaluation.predictions import load_predictions
from microloftr.evaluation.protocols import FolderPairs, fingerprint, get_protocol
from microloftr.evaluation.whole_pairs import WholePairs, drawn_view, largest_frame
from microloftr.images import as_image
from microloftr.matches import Matches

TURN = np.array([[0.9, -0.2, 30.0], [0.15, 1.05, -8.0], [1e-4, -5e-5, 1]])
KNOWN = f"{__name__}.Known"


def picture(size: tuple[int, int], seed: int = 0) -> np.ndarray:
    """A smooth texture, (H, W) uint8, of `size` (width, height)."""
    noise = np.random.default_rng(seed).normal(size=(size[1], size[0]))
    smooth = cv2.GaussianBlur(noise, (0, 0), 4)
    return np.clip(128 + 40 * smooth / smooth.std(), 0, 255).astype(np.uint8)


def write_colour(path: Path, grey: np.ndarray) -> None:
    assert cv2.imwrite(str(path), cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR))


def warped(image: np.ndarray, homography: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return cv2.warpPerspective(image, homography, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)


@pytest.fixture
def hpatches(tmp_path) -> Path:
    """Two sequences and one that the protocol leaves out; image 1 of 640×360 px, another of 600×300."""
    folder = tmp_path / "hpatches-sequences-release"
    for name in ("i_made", "v_made", "i_dc"):
        sequence = folder / name
        sequence.mkdir(parents=True)
        first = picture((640, 360), len(name))
        write_colour(sequence / "1.ppm", first)
        for number in (2, 6):
            matrix = TURN if name == "v_made" and number == 6 else np.eye(3)
            write_colour(sequence / f"{number}.ppm", warped(first, matrix, (600, 300)))
            np.savetxt(sequence / f"H_1_{number}", matrix)
    return folder


def test_hpatches_is_read_by_the_published_protocol(hpatches):
    pairs = list(HPatchesPairs(hpatches))
    assert [pair.id for pair in pairs] == [f"hpatches/{s}/1-{k}" for s in ("i_made", "v_made") for k in (2, 6)]
    assert [pair.group for pair in pairs] == ["illumination"] * 2 + ["viewpoint"] * 2
    assert [pair.source for pair in pairs] == ["i_made"] * 2 + ["v_made"] * 2
    for pair in pairs:  # shorter sides of 480 px, the other in proportion
        assert (pair.size_0, pair.size_1) == ((853, 480), (960, 480)) and pair.accuracy_px == 0
        assert pair.image_0.shape == (480, 853) and pair.image_1.shape == (480, 960)
    # a point that the file's homography moves from (100, 50) must be moved so between the resized images too
    point = np.array([[100.0, 50.0]])
    there = apply_homography(TURN, point)
    resized = ((point + 0.5) * [853 / 640, 480 / 360] - 0.5, (there + 0.5) * [960 / 600, 480 / 300] - 0.5)
    assert apply_homography(pairs[3].homography, resized[0]) == pytest.approx(resized[1], abs=1e-9)
    # and the pixels agree: image_1 seen through the truth is image_0 where both show something
    back = cv2.warpPerspective(
        pairs[3].image_1, pairs[3].homography, (853, 480), flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    )
    assert np.abs(back - pairs[3].image_0)[100:240, 150:400].mean() < 0.01
    shifted = cv2.warpPerspective(
        pairs[3].image_1,
        np.array([[1, 0, 2.0], [0, 1, 0], [0, 0, 1]]) @ pairs[3].homography,
        (853, 480),
        flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
    )
    assert np.abs(shifted - pairs[3].image_0)[100:240, 150:400].mean() > 0.02


def test_hpatches_by_name_and_by_the_folder_above(hpatches):
    assert len(get_protocol(f"hpatches:{hpatches}")) == 4
    assert [pair.id for pair in get_protocol(f"hpatches:{hpatches.parent}", limit=2)] == [
        "hpatches/i_made/1-2",
        "hpatches/v_made/1-6",
    ]


def test_a_resize_keeps_the_edges_of_the_picture():
    matrix = scaling((640, 360), (320, 90))
    edges = np.array([[-0.5, -0.5], [639.5, 359.5]])
    assert apply_homography(matrix, edges) == pytest.approx(np.array([[-0.5, -0.5], [319.5, 89.5]]))


@pytest.mark.parametrize(
    "damage, said",
    [
        (lambda folder: (folder / "v_made" / "H_1_2").write_text("1 0 0"), "3×3"),
        (lambda folder: (folder / "v_made" / "H_1_2").write_text("1 0 0 " * 3), "inverted"),
        (lambda folder: (folder / "v_made" / "2.ppm").unlink(), "no image 2"),
        (lambda folder: [file.unlink() for file in (folder / "v_made").glob("H_*")], "no homographies"),
        (lambda folder: [path.rename(path.with_name("x" + path.name)) for path in folder.iterdir()], "no HPatches"),
    ],
)
def test_a_damaged_hpatches_is_one_clear_sentence(hpatches, damage, said):
    damage(hpatches)
    with pytest.raises(ParameterError, match=said) as caught:
        list(HPatchesPairs(hpatches))
    assert "\n" not in str(caught.value)


class Known:
    """Gives the matches that a test left in `found`, by the sizes of the pair, with the confidence of their order."""

    found: ClassVar[dict] = {}

    def match(self, image_0, image_1) -> Matches:
        sizes = tuple(as_image(image).pixels.shape[::-1] for image in (image_0, image_1))
        points_0, points_1 = self.found[sizes]
        return Matches(points_0, points_1, np.linspace(1, 0, len(points_0)), *sizes)


def test_hpatches_is_scored_by_both_estimators(hpatches, tmp_path, monkeypatch, capsys):
    """1000 right matches, and 500 less confident ones that agree on a shift of 30 px."""
    monkeypatch.setattr(summary, "RESAMPLES", 20)
    for file in hpatches.rglob("H_1_6"):
        file.unlink()  # pairs under the identity alone remain
    protocol = HPatchesPairs(hpatches)
    generator = np.random.default_rng(0)
    points_0 = generator.uniform([0, 0], [852, 479], size=(1500, 2))
    points_1 = apply_homography(protocol[0].homography, points_0)
    points_1[1000:] = generator.uniform([0, 0], [959, 479], size=(500, 2))
    monkeypatch.setattr(Known, "found", {(protocol[0].size_0, protocol[0].size_1): (points_0, points_1)})
    arguments = ["--matchers", KNOWN, "--levels", "", "--hpatches", str(hpatches)]
    monkeypatch.delenv("MICROLOFTR_PAIRS", raising=False)
    predict_and_score.main([*arguments, "--runs", str(tmp_path / "runs"), "--results", str(tmp_path / "results")])
    record = json.loads((tmp_path / "results" / "evaluate_hpatches.json").read_text())
    values = record["values"]
    assert (values["estimator"], values["threshold_px"], values["match_cap"]) == ("OpenCV RANSAC", 3.0, 1000)
    assert values["estimators"]["magsac"]["estimator"] == "OpenCV USAC_MAGSAC"
    key = next(iter(values["matchers"]))
    assert set(values["groups"]) == {"illumination", "viewpoint", "all"}
    for part in (values, values["estimators"]["magsac"]):
        assert part["groups"]["all"][key]["auc_3"] > 0.99 and part["groups"]["all"][key]["n"] == 2
    assert str(hpatches) not in json.dumps(record) and "--hpatches PLACE" in record["command"]
    printed = capsys.readouterr().out
    assert "OpenCV RANSAC, 3 px, 1000 matches" in printed and "OpenCV USAC_MAGSAC, 2 px" in printed
    assert len(list((tmp_path / "runs" / "scores").glob("hpatches*.csv"))) == 2


def test_the_published_estimator_sees_the_most_confident_thousand_alone():
    generator = np.random.default_rng(1)
    points_0 = generator.uniform(0, 400, size=(3000, 2))
    points_1 = points_0 + [5.0, 0.0]
    points_1[1000:] = points_0[1000:] + [-20.0, 3.0]  # twice as many, less confident
    found, inliers = score.transform_by("ransac", points_0, points_1)
    assert found / found[2, 2] == pytest.approx(np.array([[1, 0, 5], [0, 1, 0], [0, 0, 1]]), abs=1e-3)
    assert inliers.shape == (3000,) and inliers[:1000].all() and not inliers[1000:].any()
    assert score.transform_by("magsac", points_0, points_1)[0][0, 2] == pytest.approx(-20, abs=0.5)
    nothing, inliers = score.transform_by("ransac", points_0[:3], points_1[:3])
    assert nothing is None and inliers.tolist() == [False] * 3


@pytest.fixture
def stained(tmp_path) -> Path:
    """Three sections with landmarks as ANHIR writes them, in a folder of one tissue, and a table of two pairs."""
    tissue = tmp_path / "stained" / "lung"
    tissue.mkdir(parents=True)
    points = np.random.default_rng(3).uniform(10, 110, size=(8, 2))
    for number, name in enumerate(("cd31", "he", "ki67")):
        cv2.imwrite(str(tissue / f"{name}.jpg"), picture((140 + 4 * number, 120), number))
        rows = [f"{k},{x + 6 * number},{y - 2 * number}" for k, (x, y) in enumerate(points[: 8 - number])]
        (tissue / f"{name}.csv").write_text("\n".join([",X,Y", *rows]) + "\n")
    table = ["id,Source image,Source landmarks,Target image,Target landmarks,status"]
    table += ["0,lung/cd31.jpg,lung/cd31.csv,lung/he.jpg,lung/he.csv,training"]
    table += ["1,lung/he.jpg,lung/he.csv,lung/ki67.jpg,,evaluation"]
    table += ["2,lung/ki67.jpg,lung/ki67.csv,lung/cd31.jpg,lung/cd31.csv,training"]
    (tissue.parent / "dataset.csv").write_text("\n".join(table) + "\n")
    return tissue.parent


def test_landmarks_beside_images_make_pairs_of_every_two(stained):
    pairs = list(LandmarkPairs(stained))
    assert [pair.id for pair in pairs] == ["lung/cd31-he", "lung/cd31-ki67", "lung/he-ki67"]
    assert {pair.group for pair in pairs} == {"lung"} and pairs[1].size_1 == (148, 120)
    assert pairs[1].landmarks.shape == (6, 4)  # as many as both have
    assert (pairs[1].landmarks[:, 2:] - pairs[1].landmarks[:, :2]) == pytest.approx(np.tile([12.0, -4.0], (6, 1)))
    assert pairs[1].homography == pytest.approx(np.array([[1, 0, 12.0], [0, 1, -4], [0, 0, 1]]), abs=1e-6)
    assert pairs[1].accuracy_px < 1e-6


def test_a_table_of_pairs_is_read_as_the_challenge_writes_it(stained):
    pairs = list(get_protocol(f"landmarks:{stained / 'dataset.csv'}"))
    assert [pair.id for pair in pairs] == ["lung/cd31-he", "lung/ki67-cd31"]  # the other has landmarks on one side only
    assert pairs[1].homography[:2, 2] == pytest.approx([-12, 4], abs=1e-6)


@pytest.mark.parametrize(
    "damage, said",
    [
        (lambda f: (f / "lung" / "he.csv").write_text("A,B\n1,2\n"), "columns X and Y"),
        (lambda f: (f / "lung" / "he.csv").write_text("X,Y\n1,nan\n" * 1), "no numbers"),
        (lambda f: (f / "lung" / "he.csv").write_text("X,Y\n1,2\n3,4\n"), "share 2 landmarks"),
        (lambda f: (f / "lung" / "he.csv").write_text("X,Y\n" + "1,2\n" * 8), "line|inverted|fitted"),
        (lambda f: [path.unlink() for path in (f / "lung").glob("*.csv")], "no two images"),
    ],
)
def test_damaged_landmarks_are_one_clear_sentence(stained, damage, said):
    if said.startswith("line"):
        (stained / "lung" / "cd31.csv").write_text("X,Y\n" + "".join(f"{k},{k}\n" for k in range(8)))
    damage(stained)
    with pytest.raises(ParameterError, match=said) as caught:
        list(LandmarkPairs(stained))
    assert "\n" not in str(caught.value)


def test_a_table_without_its_columns_or_files_is_told(stained):
    table = stained / "dataset.csv"
    table.write_text("a,b\n1,2\n")
    with pytest.raises(ParameterError, match="lacks source image"):
        LandmarkPairs(table)
    table.write_text("Source image,Source landmarks,Target image,Target landmarks\nx.jpg,x.csv,y.jpg,y.csv\n")
    with pytest.raises(ParameterError, match=r"no file .*x\.jpg"):
        LandmarkPairs(table)
    with pytest.raises(ParameterError, match="no table of landmarks"):
        read_points(stained / "gone.csv")


def test_landmarks_are_scored_as_the_challenge_does(stained, tmp_path, monkeypatch, capsys):
    """A matcher that finds two of three pairs; the other keeps its landmarks where they were."""
    monkeypatch.setattr(summary, "RESAMPLES", 20)
    protocol, found = LandmarkPairs(stained), {}
    for number, pair in enumerate(protocol):
        points_0 = np.random.default_rng(number).uniform(0, 100, size=(60 if number < 2 else 0, 2))
        found[pair.size_0, pair.size_1] = points_0, points_0 + pair.homography[:2, 2]
    monkeypatch.setattr(Known, "found", found)
    monkeypatch.delenv("MICROLOFTR_PAIRS", raising=False)
    arguments = ["--matchers", f"{KNOWN},phase_correlation", "--levels", "", "--landmarks", str(stained)]
    predict_and_score.main([*arguments, "--runs", str(tmp_path / "runs"), "--results", str(tmp_path / "results")])
    values = json.loads((tmp_path / "results" / "evaluate_landmarks.json").read_text())["values"]
    key = next(iter(values["matchers"]))
    told = values["groups"]["all"][key]["landmarks"]
    left = np.hypot(6, 2) / np.hypot(148, 120)  # what the failed pair had before
    assert told["n"] == 3 and told["mean_rtre"] == pytest.approx(left / 3, rel=1e-3)
    assert told["mean_max_rtre"] == pytest.approx(left / 3, rel=1e-3) and told["median_rtre"] < 1e-3
    assert told["robustness"] == pytest.approx(2 / 3, abs=1e-4)
    assert sum(values["mean_rank"].values()) == pytest.approx(3.0)  # ranks 1 and 2 of two matchers
    assert values["mean_rank"][key] < 1.6
    assert "AMrTRE" in capsys.readouterr().out


@pytest.fixture
def folder_of_micrographs(tmp_path) -> Path:
    folder = tmp_path / "micrographs"
    folder.mkdir()
    cv2.imwrite(str(folder / "a.png"), picture((300, 200), 1))
    cv2.imwrite(str(folder / "b.png"), cv2.cvtColor(picture((240, 260), 2), cv2.COLOR_GRAY2BGR))
    (folder / "manifest.csv").write_text(
        "file,split,specimen,modality\na.png,validation,s1,sem\nb.png,validation,s2,\n"
    )
    return folder


def test_whole_micrographs_are_whole_and_their_truth_is_true(folder_of_micrographs):
    pairs = list(get_protocol(f"whole:{folder_of_micrographs}"))
    assert [pair.size_0 for pair in pairs] == [(300, 200), (240, 260)]
    assert [pair.source for pair in pairs] == ["s1", "s2"] and pairs[0].modality == "sem"
    for pair, seed in zip(pairs, (1, 2), strict=True):
        assert pair.image_0.shape == pair.size_0[::-1] and pair.image_1.shape == pair.size_1[::-1]
        there = apply_homography(np.linalg.inv(pair.homography), corners(pair.size_1))
        assert (there >= 0).all() and (there <= np.array(pair.size_0) - 1).all()  # nothing but image in image_1
        assert 0.25 < pair.overlap <= 1
        original = picture(pair.size_0, seed)
        seen = warped(original, pair.homography, pair.size_1).astype(float)

        def likeness(x: float, y: float, pair=pair, original=original) -> float:
            moved = np.array([[1, 0, x], [0, 1, y], [0, 0, 1]]) @ pair.homography
            seen = warped(original, moved, pair.size_1)[8:-8, 8:-8].astype(float)
            return np.corrcoef(seen.ravel(), pair.image_1[8:-8, 8:-8].ravel().astype(float))[0, 1]

        grid = [(x, y) for x in (-0.5, 0.0, 0.5) for y in (-0.5, 0.0, 0.5)]
        assert max(grid, key=lambda move: likeness(*move)) == (0.0, 0.0)
        assert likeness(0, 0) > 0.9 and seen.shape == pair.image_1.shape


def test_whole_pairs_are_always_the_same_and_splits_differ(folder_of_micrographs):
    assert fingerprint(WholePairs(source=str(folder_of_micrographs))) == fingerprint(
        WholePairs(source=str(folder_of_micrographs))
    )
    alone = WholePairs(source=str(folder_of_micrographs), limit=1)
    assert np.array_equal(alone[0].image_1, WholePairs(source=str(folder_of_micrographs))[0].image_1)
    assert drawn_view((300, 200), 404, 0).size != drawn_view((300, 200), 505, 0).size
    with pytest.raises(ParameterError, match="no split"):
        WholePairs("lattice")


def test_the_two_images_of_a_whole_pair_share_no_noise(tmp_path):
    """Noise alone as a micrograph: what is left of it in both must not tell where they belong."""
    noise = np.random.default_rng(0).integers(0, 256, size=(128, 128), dtype=np.uint8)
    view = drawn_view((128, 128), 404, 3)
    image_0, image_1 = whole_pairs.rendered(noise // 8 + 100, view, 404, 3)
    moved = warped(image_0, view.homography, view.size).astype(float)
    likeness = np.corrcoef(moved[8:-8, 8:-8].ravel(), image_1[8:-8, 8:-8].astype(float).ravel())[0, 1]
    assert abs(likeness) < 0.35


def test_the_largest_frame_is_the_largest():
    share, sides = largest_frame(np.array([[1, 0, -49.5], [0, 1, -29.5], [0, 0, 1.0]]), (100, 60))
    assert sides.tolist() == [100, 60] and share == pytest.approx(1, abs=0.02)
    quarter = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1.0]]) @ np.array([[1, 0, -49.5], [0, 1, -29.5], [0, 0, 1]])
    assert largest_frame(quarter, (100, 60))[1].tolist() == [60, 36]  # a 100×60 shape inside 60×100


def test_the_bundled_micrographs_are_evaluated_whole(folder_of_micrographs, tmp_path, monkeypatch):
    monkeypatch.setattr(summary, "RESAMPLES", 20)
    monkeypatch.delenv("MICROLOFTR_PAIRS", raising=False)
    arguments = ["--matchers", "rootsift", "--levels", "", "--whole", str(folder_of_micrographs)]
    predict_and_score.main([*arguments, "--runs", str(tmp_path / "runs"), "--results", str(tmp_path / "results")])
    values = json.loads((tmp_path / "results" / "evaluate_whole.json").read_text())["values"]
    assert values["levels"]["whole"]["rootsift"]["n"] == 2
    assert values["levels"]["whole"]["rootsift"]["auc_10"] > 0.5
    bundled = WholePairs(limit=2)
    assert len(bundled) == 2 and min(bundled[1].size_0) >= 500


def test_names_of_protocols_are_told_where_there_is_none(tmp_path):
    with pytest.raises(ParameterError, match="hpatches:PLACE"):
        get_protocol("hpatches:")
    with pytest.raises(ParameterError, match="holds no HPatches"):
        get_protocol(f"hpatches:{tmp_path}")
    with pytest.raises(ParameterError, match=r"no .*pairs\.json"):
        get_protocol(f"real:{tmp_path}")


def test_predictions_of_every_protocol_have_files_of_their_own(hpatches, stained, folder_of_micrographs, tmp_path):
    protocols = [HPatchesPairs(hpatches, 1), LandmarkPairs(stained, 1), WholePairs(source=str(folder_of_micrographs))]
    paths = [predict("phase_correlation", protocol, tmp_path / "out") for protocol in protocols]
    assert [path.name for path in paths] == ["hpatches.npz", "landmarks.npz", "whole_validation.npz"]
    assert [len(load_predictions(path).ids) for path in paths] == [1, 1, 2]
    assert {protocol.record for protocol in protocols} | {FolderPairs.record} == {
        "evaluate_hpatches", "evaluate_landmarks", "evaluate_whole", "evaluate_real",
    }  # fmt: skip
