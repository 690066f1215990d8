"""The same run twice: digests of weights, and the record of it."""

from functools import partial

import pytest

from microloftr.model.presets import PRESETS
from microloftr.model.weights import save_weights
from microloftr.results import read_result, write_result
from microloftr.training import twice as module
from microloftr.training.diagnostics.brief import fresh
from tests.training_run import overrides, write_source


def test_a_digest_is_of_the_weights_alone(tmp_path):
    one, two, other = (
        module.digest(save_weights(fresh(PRESETS["one_conv"], seed), tmp_path / f"{name}.safetensors", {"run": name}))
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert one == two != other


def test_the_record_says_whether_they_are_equal(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "write_result", partial(write_result, folder=tmp_path))
    for again, equal in (("1", True), ("2", False)):
        rows = [{"run": name, "sha256": digest} for name, digest in (("first", "1"), ("again", again), ("other", "3"))]
        monkeypatch.setattr(module, "twice", lambda *_, rows=rows: rows)
        assert module.main(["train.seed=4"]) == 0
        record = read_result("one_conv_twice", tmp_path)
        assert record["values"]["equal"] == equal and record["values"]["other_differs"] and record["seed"] == 4
        assert record["command"] == "python -m microloftr.training.twice train.seed=4"


@pytest.mark.long
def test_two_processes_from_one_seed_leave_the_same_weights(tmp_path):
    source = write_source(tmp_path)
    rows = module.twice(overrides(source, tmp_path, "train.steps=2"), tmp_path)
    digests = [row["sha256"] for row in rows]
    assert digests[0] == digests[1] != digests[2] and rows[0]["threads"] == 1
