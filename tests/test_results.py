"""Records in results/: everything needed to make them again, finite plain values only."""

import json
import re
import subprocess
from datetime import UTC, datetime

import numpy as np
import pytest

from microloftr.errors import MicroLoFTRError
from microloftr.results import commit, read_result, results_folder, write_result


def test_a_record_says_how_it_was_made(tmp_path):
    values = {"auc": np.float32(0.5), "n": np.int64(3), "shape": np.zeros((2, 1)), "none": None, "pair": (1, 2)}
    path = write_result("a", values, command="python -m x", seed=7, split="validation", folder=tmp_path)
    record = json.loads(path.read_text())
    assert path == tmp_path / "a.json"
    assert list(record) == ["command", "commit", "seed", "device", "split", "date", "values"]
    assert record["values"] == {"auc": 0.5, "n": 3, "shape": [[0.0], [0.0]], "none": None, "pair": [1, 2]}
    assert (record["command"], record["seed"], record["device"], record["split"]) == (
        "python -m x",
        7,
        "cpu",
        "validation",
    )
    assert record["date"] == datetime.now(UTC).date().isoformat()
    assert read_result("a", tmp_path) == record


@pytest.mark.parametrize("bad", [float("nan"), np.inf, object()])
def test_what_is_no_finite_plain_value_is_refused_and_nothing_written(tmp_path, bad):
    with pytest.raises(MicroLoFTRError, match="must hold finite plain values"):
        write_result("a", {"x": [bad]}, command="x", folder=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_missing_or_damaged_record_is_one_sentence(tmp_path):
    with pytest.raises(MicroLoFTRError, match=r"There is no record results/b\.json"):
        read_result("b", tmp_path)
    (tmp_path / "b.json").write_text("{")
    with pytest.raises(MicroLoFTRError, match="is no JSON"):
        read_result("b", tmp_path)


def test_the_commit_tells_whether_the_code_was_changed(tmp_path):
    def git(*arguments):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", "-C", str(tmp_path), *identity, *arguments], check=True, capture_output=True)

    assert commit(tmp_path / "nowhere") == "unknown"
    git("init", "-q")
    assert commit(tmp_path) == "unknown"
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "a.py").write_text("1")
    git("add", ".")
    git("commit", "-qm", "one")
    assert re.fullmatch(r"[0-9a-f]{12}", commit(tmp_path))
    (tmp_path / "notes.md").write_text("1")
    assert re.fullmatch(r"[0-9a-f]{12}", commit(tmp_path))
    (tmp_path / "lib" / "a.py").write_text("2")
    assert re.fullmatch(r"[0-9a-f]{12}-dirty", commit(tmp_path))


def test_records_lie_in_the_clone():
    assert results_folder().name == "results" and (results_folder().parent / "pyproject.toml").exists()
