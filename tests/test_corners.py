"""The same transforms at the corners and over the overlap, by level and by the share that is shown."""

import numpy as np
import pytest

from microloftr.errors import ParameterError
from microloftr.evaluation import corners, metrics
from microloftr.evaluation.pair import Pair
from microloftr.matches import Matches
from microloftr.registration.families import move_points
from microloftr.results import read_result

SIZE = (100, 100)


class OffByASlope:
    """Knows the truth, but for a turn of a hundredth around the middle of what both images show."""

    def match(self, image_0, image_1) -> Matches:
        shift = np.array([[1, 0, -float(image_0[0, 0])], [0, 1, 0], [0, 0, 1]])
        left = float(image_0[0, 0])
        y, x = np.mgrid[5:95:10, left + 2 : 98 : 4]
        points_0 = np.stack((x.ravel(), y.ravel()), 1)
        middle = np.array([(left + 99) / 2, 49.5])
        turn = np.array([[1, -0.01], [0.01, 1]])
        points_1 = move_points((points_0 - middle) @ turn.T + middle, shift)
        return Matches(points_0, points_1, np.ones(len(points_0)), SIZE, SIZE)


def a_pair(left: int, level: str, source: str) -> Pair:
    homography = np.array([[1, 0, -float(left)], [0, 1, 0], [0, 0, 1]])
    image = np.full(SIZE, left, np.uint8)
    return Pair(f"{level}/{left}", level, source, image, image, homography, 0.0, SIZE, SIZE, None, 1 - left / 100)


class Level(list):
    def __init__(self, name, pairs):
        super().__init__(pairs)
        self.name = name


def test_what_lies_outside_the_overlap_is_magnified(monkeypatch, tmp_path, capsys):
    made = {name: Level(name, [a_pair(left, name, f"s{k}") for k in range(2)])
            for name, left in {"easy": 20, "extreme": 80}.items()}  # fmt: skip
    monkeypatch.setattr(corners, "LEVEL_NAMES", tuple(made))
    monkeypatch.setattr(corners, "MadePairs", lambda level, limit, store: made[level])
    monkeypatch.setattr(corners, "get_matcher", lambda name: OffByASlope())
    assert corners.main(["--pairs", "2", "--matchers", "rootsift", "--results", str(tmp_path)]) == 0
    record = read_result("corners", tmp_path)
    told = record["values"]["matchers"]["rootsift"]
    easy, extreme = (told["levels"][name] for name in ("easy", "extreme"))
    far = np.mean([np.hypot(x - 89.5, y - 49.5) for x in (0, 99) for y in (0, 99)])  # from the middle of the overlap
    assert extreme["corners"]["median"] == pytest.approx(0.01 * far, abs=0.02)
    assert extreme["overlap"]["median"] < 0.5 * extreme["corners"]["median"]
    assert easy["corners"]["median"] - easy["overlap"]["median"] < 0.4
    area = metrics.auc([extreme["corners"]["median"]] * 2, [3.0])[0]
    assert extreme["corners"]["auc_3"] == pytest.approx(area, abs=0.01) and area < extreme["overlap"]["auc_3"]
    assert [(part["from"], part["to"], part["n"]) for part in told["shares"]] == [(0.0, 0.2, 2), (0.7, 1.0, 2)]
    assert "| rootsift | extreme | 2 |" in capsys.readouterr().out
    assert record["command"].endswith("corners --pairs 2 --matchers rootsift")
    with pytest.raises(ParameterError, match="two pairs"):
        corners.main(["--pairs", "1"])
