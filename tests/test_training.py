"""Training by its one command: typed overrides, whole checkpoints, and a resume that changes nothing."""

from functools import partial

import pytest
import torch
from safetensors.torch import load_file

from microloftr.__main__ import main
from microloftr.config import load_config
from microloftr.errors import ConfigError, WeightsError
from microloftr.model.weights import load_model, recipe_of
from microloftr.results import read_result, write_result
from microloftr.training.checkpoints import AtomicCheckpointIO
from microloftr.training.descent import rate
from microloftr.training.run import train
from tests.training_run import overrides, write_source


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write_source(tmp_path_factory.mktemp("micrographs"))


def run(source, out, *more):
    chosen = overrides(source, out, *more)
    return train(load_config(chosen), progress=False, overrides=chosen)


def test_a_run_writes_weights_that_load_and_a_log(source, tmp_path):
    path = run(source, tmp_path, "train.steps=3", "train.run=one")
    model = load_model(path)
    assert model.config.preset == "one_conv"
    recipe = recipe_of(path)
    assert (recipe["steps"], recipe["pairs"], recipe["seed"]) == (3, 6, 0)
    assert "python -m microloftr train" in recipe["command"]
    assert "model=one_conv" in recipe["command"]
    lines = (tmp_path / "one" / "metrics.csv").read_text(encoding="utf-8").splitlines()
    assert "easy/coarse" in lines[0]
    assert not list((tmp_path / "one").glob(".*"))  # nothing half-written


def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(source, tmp_path):
    whole = run(source, tmp_path, "train.steps=4", "train.run=whole")
    run(source, tmp_path, "train.steps=2", "train.run=parts")
    # (a decay of one step, so that the schedule before the stop is the same)
    parts = run(source, tmp_path, "train.steps=4", "train.run=parts")
    one, two = load_file(whole), load_file(parts)
    assert recipe_of(parts)["steps"] == 4
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_finished_run_keeps_its_averaged_weights(source, tmp_path):
    """Nothing is left to train, so nothing would average: the current weights must not take the average's place."""
    path = run(source, tmp_path, "train.steps=4", "train.run=done", "train.average=0.5")
    first = path.read_bytes()
    assert run(source, tmp_path, "train.steps=4", "train.run=done", "train.average=0.5").read_bytes() == first
    path.unlink()
    again = load_file(run(source, tmp_path, "train.steps=4", "train.run=done", "train.average=0.5"))
    path.write_bytes(first)
    assert all(torch.equal(value, again[name]) for name, value in load_file(path).items())


def test_the_record_joins_the_parts_of_a_run(source, tmp_path, monkeypatch):
    monkeypatch.setattr("microloftr.training.record.write_result", partial(write_result, folder=tmp_path / "results"))
    for steps in (10, 20):
        run(source, tmp_path, f"train.steps={steps}", "train.run=x", "train.validate_every=10")
    assert main(["training-record", str(tmp_path / "x")]) == 0
    values = read_result("training", tmp_path / "results")["values"]
    assert values["validation"]["easy"]["steps"] == [10, 20]  # of both parts
    assert values["recipe"]["steps"] == 20
    assert len(values["coarse"]) == len(values["steps"]) == 1
    assert main(["training-record", str(tmp_path / "nowhere")]) == 2


def test_a_run_does_not_go_on_with_another_configuration(source, tmp_path):
    run(source, tmp_path, "train.steps=2", "train.run=x")
    with pytest.raises(ConfigError, match=r"began with train.lr=0.0006 and cannot go on with 0.1"):
        run(source, tmp_path, "train.steps=4", "train.run=x", "train.lr=0.1")


def test_the_learning_rate_warms_up_stays_and_falls():
    train = load_config(["train.steps=100", "train.warmup=10", "train.decay=20", "train.init=none"]).train
    assert rate(0, train) == pytest.approx(0.1)
    assert rate(9, train) == rate(50, train) == rate(79, train) == 1
    assert rate(90, train) == pytest.approx(0.5)
    assert rate(99, train) == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.stepz=3", "unknown key train.stepz; did you mean train.steps?"),
        ("train.device=tpu", "device is 'tpu'"),
        ("train.init=nowhere", "no weights named 'nowhere'"),
    ],
)
def test_a_wrong_override_is_one_line_and_exit_2(override, message, tmp_path, capsys):
    assert main(["train", f"train.out={tmp_path}", override]) == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert shown.count("\n") == 1
    assert not list(tmp_path.rglob("*.safetensors"))


def test_a_failed_save_leaves_the_previous_checkpoint(tmp_path, monkeypatch):
    """Lightning's own way, copying from another disk, would leave half a file."""
    io, path = AtomicCheckpointIO(), tmp_path / "last.ckpt"
    io.save_checkpoint({"step": 1, "w": torch.ones(3)}, path)

    def half(checkpoint, target):
        target.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(WeightsError, match=r"last.ckpt cannot be written \(disk full\); what was there"):
        io.save_checkpoint({"step": 2}, path)
    assert io.load_checkpoint(path)["step"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]


def test_a_damaged_or_hostile_checkpoint_is_refused(tmp_path):
    path = tmp_path / "last.ckpt"
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(WeightsError, match="cannot be read"):
        AtomicCheckpointIO().load_checkpoint(path)
    torch.save({"run": print}, path)  # unpickling would import a function
    with pytest.raises(WeightsError, match="cannot be read"):
        AtomicCheckpointIO().load_checkpoint(path)
