"""Matches: what they accept, how they are cut, and that the CSV gives back what went in."""

import numpy as np
import pytest

from microloftr import Matches
from microloftr.errors import ParameterError

SIZES = {"size_0": (64, 48), "size_1": (80, 60)}


def some_matches(number: int = 20, **known) -> Matches:
    generator = np.random.default_rng(3)
    points_0, points_1 = generator.uniform(0, 48, (2, number, 2))
    return Matches(points_0, points_1, generator.uniform(size=number), **SIZES, **known)


def test_holds_read_only_float64_copies():
    points = np.array([[1, 2], [3, 4]], dtype=np.float32)
    matches = Matches(points, points + 1, [0.5, 1], **SIZES, coarse_points_1=points)
    points[0, 0] = 99
    assert matches.points_0.tolist() == [[1, 2], [3, 4]]
    for array in (matches.points_0, matches.points_1, matches.confidence, matches.coarse_points_1):
        assert array.dtype == np.float64
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
    assert len(matches) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"points_0": np.zeros((3, 3))}, r"points_0 must have the shape \(M, 2\), got \(3, 3\)"),
        ({"points_1": np.zeros((2, 2))}, r"points_1 must have the shape \(3, 2\), got \(2, 2\)"),
        ({"confidence": np.zeros((3, 1))}, r"confidence must have the shape \(3,\), got \(3, 1\)"),
        ({"coarse_points_1": np.zeros((4, 2))}, "coarse_points_1 must have the shape"),
        ({"coarse_points_0": np.zeros((4, 2))}, "coarse_points_0 must have the shape"),
        ({"points_0": [[0, 0], [1, np.nan], [2, 2]]}, "points_0 must be finite"),
        ({"points_1": [["a", "b"]] * 3}, "points_1 must be an array of numbers"),
        ({"confidence": [0, 0.5, 1.01]}, r"confidence must lie in 0\.\.1"),
        ({"confidence": [0, 0.5, -0.01]}, r"confidence must lie in 0\.\.1"),
        ({"size_0": (64, 0)}, "size_0 must be"),
        ({"size_1": (64.5, 3)}, "size_1 must be"),
        ({"size_1": 64}, "size_1 must be"),
        ({"um_per_px_0": 0}, "um_per_px_0 must be"),
        ({"um_per_px_1": float("inf")}, "um_per_px_1 must be"),
    ],
)
def test_refuses_what_does_not_fit(change, message):
    good = {"points_0": np.zeros((3, 2)), "points_1": np.zeros((3, 2)), "confidence": np.zeros(3), **SIZES}
    Matches(**good)
    with pytest.raises(ParameterError, match=message):
        Matches(**{**good, **change})


def test_take_top_and_above_keep_everything_together():
    matches = some_matches(um_per_px_0=0.5, coarse_points_1=np.arange(40).reshape(20, 2))
    best = matches.top(5)
    order = np.argsort(-matches.confidence)[:5]
    for name in ("points_0", "points_1", "confidence", "coarse_points_1"):
        np.testing.assert_array_equal(getattr(best, name), getattr(matches, name)[order])
    assert (best.size_0, best.size_1, best.um_per_px_0, best.um_per_px_1) == ((64, 48), (80, 60), 0.5, None)
    limit = matches.confidence[7]
    kept = matches.above(limit)
    np.testing.assert_array_equal(kept.confidence, matches.confidence[matches.confidence >= limit])
    assert limit in kept.confidence
    assert len(matches.top(0)) == len(matches.above(1.0)) == 0
    assert len(matches.top(99)) == 20
    with pytest.raises(ParameterError, match="0 or more"):
        matches.top(-1)


def test_ties_stay_in_order():
    matches = Matches(np.arange(8).reshape(4, 2), np.zeros((4, 2)), [0.5, 0.7, 0.5, 0.7], **SIZES)
    assert matches.top(4).points_0[:, 0].tolist() == [2, 6, 0, 4]


@pytest.mark.parametrize("known", [{}, {"um_per_px_0": 0.325}, {"um_per_px_0": 0.00005, "um_per_px_1": 0.65}])
@pytest.mark.parametrize("number", [0, 1, 20])
def test_csv_gives_back_what_went_in(tmp_path, known, number):
    matches = some_matches(number, **known)
    path = tmp_path / "a folder" / "matches.csv"
    matches.to_csv(path)
    header, *rows = path.read_text().splitlines()
    micrometres = [f"{axis}_{image}_um" for image in (0, 1) if f"um_per_px_{image}" in known for axis in "xy"]
    assert header.split(",") == ["x_0", "y_0", "x_1", "y_1", "confidence", *micrometres]
    assert len(rows) == number
    assert [file.name for file in path.parent.iterdir()] == ["matches.csv"]
    back = Matches.from_csv(path, **SIZES)
    for name in ("points_0", "points_1", "confidence"):
        np.testing.assert_allclose(getattr(back, name), getattr(matches, name), rtol=1e-8)
    for name in ("um_per_px_0", "um_per_px_1"):
        expected = known.get(name) if number else None  # nothing tells the pixel size of no match
        assert getattr(back, name) == (pytest.approx(expected, rel=1e-7) if expected else None)
        assert getattr(Matches.from_csv(path, **SIZES, **known), name) == known.get(name)


def test_csv_holds_micrometres(tmp_path):
    Matches([[10, 20]], [[30, 40]], [1], **SIZES, um_per_px_0=0.5, um_per_px_1=0.25).to_csv(tmp_path / "m.csv")
    assert (tmp_path / "m.csv").read_text().splitlines()[1] == "10,20,30,40,1,5,10,7.5,10"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a table"),
        ("x_0,y_0,x_1,y_1,confidence\n1,2,3\n", "is not a table"),
        ("x_0,y_0,x_1,y_1,confidence\n1,2,3,4,high\n", "is not a table"),
        ("x_0,y_0,x_1,y_1\n1,2,3,4\n", "has no column confidence"),
        ("x_0,y_0,x_1,y_1,confidence\n1,2,3,4,7\n", r"confidence must lie in 0\.\.1"),
    ],
)
def test_a_damaged_csv_is_named(tmp_path, text, message):
    path = tmp_path / "m.csv"
    path.write_text(text)
    with pytest.raises(ParameterError, match=message):
        Matches.from_csv(path, **SIZES)
    with pytest.raises(ParameterError, match="There is no file"):
        Matches.from_csv(tmp_path / "none.csv", **SIZES)


def test_estimate_is_the_function_of_the_registration():
    from microloftr.registration import estimate_transform

    generator = np.random.default_rng(0)
    points = generator.uniform(0, 64, (40, 2))
    matches = Matches(points, points + [3.5, -2.25], np.ones(40), **SIZES)
    transform = matches.estimate("translation", threshold=1.5)
    np.testing.assert_array_equal(transform.matrix, estimate_transform(matches, "translation", 1.5).matrix)
    np.testing.assert_allclose(transform.matrix[:2, 2], [3.5, -2.25])
    assert transform.threshold == 1.5
    assert some_matches(0).estimate() is None
