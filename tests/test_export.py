"""The result of one pair: its sentences, its numbers, its files."""

import json
import os

import numpy as np
import pytest

from microloftr import Matches, Transform, overlay
from microloftr.errors import ParameterError
from microloftr.registration.export import describe, reason_for_none, summarise, write_result

ANGLE = np.deg2rad(-30)
MATRIX = np.array([[np.cos(ANGLE), -np.sin(ANGLE), 12], [np.sin(ANGLE), np.cos(ANGLE), 60], [0, 0, 1 / 1.25]]) * 1.25
SIZE = (200, 160)


def agreeing(**known) -> Matches:
    points = np.random.default_rng(0).uniform(0, 150, (80, 2))
    moved = np.c_[points, np.ones(80)] @ MATRIX.T
    moved[:20] = np.random.default_rng(1).uniform(0, 150, (20, 3))
    return Matches(points, moved[:, :2], np.full(80, 0.5), SIZE, SIZE, **known)


def contradicting() -> Matches:
    points_0, points_1 = np.random.default_rng(0).uniform(0, 150, (2, 30, 2))
    return Matches(points_0, points_1, np.full(30, 0.5), SIZE, SIZE)


def test_the_summary_holds_the_numbers_and_is_plain_json():
    matches = agreeing(um_per_px_0=0.5, um_per_px_1=0.4)
    transform = matches.estimate()
    summary = summarise(matches, transform)
    assert json.loads(json.dumps(summary)) == summary
    assert summary["answer"] == "match" and summary["family"] == "similarity"
    assert (summary["matches"], summary["inliers"]) == (80, transform.n_inliers)
    assert summary["rotation_deg"] == pytest.approx(-30) and summary["scale"] == pytest.approx(1.25)
    assert summary["scale_in_um"] == pytest.approx(1.0)
    assert "scale_in_um" not in summarise(agreeing(um_per_px_0=0.5), transform)
    text = describe(summary | {"error_px": 0.125})
    assert text.splitlines() == [
        f"Match: {transform.n_inliers} of 80 matches agree on a similarity.",
        "From image_0 to image_1 the specimen turns by 30.0° anticlockwise and grows 1.250 times.",
        f"image_1 shows {transform.overlap:.0%} of image_0.",
        "The matches that agree lie 0.00 px (median) from where it puts them.",
        "In µm the factor is 1.000; 1 when both pixel sizes are right.",
        "The truth is known here: the corners of image_0 are 0.12 px off (mean).",
    ]


def test_no_match_is_an_answer_with_a_reason():
    matches = contradicting()
    summary = summarise(matches, matches.estimate())
    assert summary["answer"] == "no match" and summary["matches"] == 30
    assert describe(summary) == f"No match: no transform takes image_0 to image_1. {summary['reason']}"
    assert "of 30 matches agree on a similarity" in summary["reason"]
    assert "on a homography" in reason_for_none(matches, "homography")
    assert summarise(Matches([], [], [], SIZE, SIZE), None)["reason"] == "There are no matches."
    with pytest.raises(ParameterError, match="agree on"):
        reason_for_none(agreeing())


def test_files_of_a_match_and_of_none(tmp_path):
    folder, matches = tmp_path / "new" / "result", agreeing()
    transform = matches.estimate()
    image = np.random.default_rng(0).integers(0, 255, (160, 200), dtype=np.uint8)
    paths = write_result(folder, matches, transform, overlay(image, image, transform), summarise(matches, transform))
    names = ["matches.csv", "overlay.png", "summary.json", "transform.json"]
    assert sorted(path.name for path in paths) == sorted(os.listdir(folder)) == names
    np.testing.assert_array_equal(Transform.load(folder / "transform.json").matrix, transform.matrix)
    assert len(Matches.from_csv(folder / "matches.csv", SIZE, SIZE)) == 80

    none = contradicting()  # an earlier result must not be taken for that of this pair
    paths = write_result(folder, none, None, None, summarise(none, None))
    assert sorted(path.name for path in paths) == sorted(os.listdir(folder)) == ["matches.csv", "summary.json"]
    assert json.loads((folder / "summary.json").read_text())["answer"] == "no match"


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    matches = contradicting()
    with pytest.raises(ParameterError, match=r"The folder .*file.* cannot be written"):
        write_result(tmp_path / "file" / "result", matches, None, None, summarise(matches, None))
