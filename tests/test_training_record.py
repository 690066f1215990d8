"""Records of runs: of Lightning's and of the core's, small runs looked at while they go, and where they stop."""

import json
from functools import partial

import pytest
import torch

from microloftr.__main__ import main
from microloftr.config import load_config
from microloftr.data.levels import LEVELS
from microloftr.data.micrographs import load_micrographs
from microloftr.results import read_result, write_result
from microloftr.training import stopping_record
from microloftr.training.export import export_run
from microloftr.training.feed import Feed
from microloftr.training.record import curves, rates_of, stop_of
from microloftr.training.small_run import few_micrographs, means, small_run
from microloftr.training.start import atlases_of, recipe_for, starting_model
from microloftr.training.stepper import Stepper
from microloftr.views.figures import figure_bytes
from microloftr.views.training_figures import draw_curve, draw_run, draw_stopping, draw_time
from tests.training_run import TINY, overrides, write_source


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write_source(tmp_path_factory.mktemp("micrographs"))


@pytest.fixture
def results(tmp_path, monkeypatch):
    folder = tmp_path / "results"
    for module in ("record", "dynamics_record", "stopping_record"):
        monkeypatch.setattr(f"microloftr.training.{module}.write_result", partial(write_result, folder=folder))
    return folder


def row(step, losses):
    """A validation as the core logs it."""
    levels = {f"{level}/loss": loss for level, loss in zip(LEVELS, losses, strict=True)}
    levels |= {f"{level}/accuracy": 0.5 for level in LEVELS}
    return {"step": step, **levels, "validation_loss": sum(losses) / len(losses)}


def test_a_run_of_the_core_is_recorded_before_it_is_done(source, tmp_path, results):
    chosen = overrides(source, tmp_path, "train.run=x", "train.steps=9")
    config = load_config(chosen)
    folder = tmp_path / "job"
    export_run(folder, config, recipe_for(config, chosen, "cpu"), atlases_of(config, "cpu"), starting_model(config))
    trained = [{"step": s, "loss": 10.0 - s / 10, "coarse": 1.0, "accuracy": 0.5, "pairs_per_s": s} for s in (10, 20)]
    rows = [trained[0], row(10, (1, 2, 3, 6)), trained[1], row(20, (2, 2, 3, 9))]
    (folder / "log.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert main(["training-record", str(folder)]) == 0
    record = read_result("training", results)
    values = record["values"]
    assert "python -m microloftr train" in record["command"] and "train.run=x" in record["command"]
    assert values["config"]["train"]["steps"] == 9 and "out" not in values["config"]["train"]
    assert (values["loss"], values["pairs_per_s"]) == ([8.5], [15.0])
    assert str(source) not in json.dumps(values["config"])
    assert values["steps"] == [20]  # of a block of 50 steps, which the run has not made
    stop = stop_of(values, 1, judged=LEVELS)
    assert (stop["losses"], stop["best_step"], stop["stop_step"]) == ([3.0, 4.0], 10, 20)
    assert stop_of(values, patience=1)["losses"] == [1.5, 2.0]  # easy and medium
    rates = rates_of(values)
    assert rates["the rest"][1].max() == pytest.approx(6e-4) and rates["backbone"][1][0] == pytest.approx(1.5e-4)
    assert figure_bytes(draw_run(values, stop, rates), "png") and figure_bytes(draw_run(values), "png")


def test_a_run_without_validation_stops_nowhere(tmp_path):
    rows = [{"step": s, "loss": 1.0, "coarse": 1.0, "accuracy": 0.5} for s in (10, 20)]
    (tmp_path / "log.jsonl").write_text("\n".join(map(json.dumps, rows)))
    values = curves(tmp_path)
    assert stop_of(values, 3) is None
    assert figure_bytes(draw_run(values), "png")


def test_a_small_run_is_the_run_and_says_when_to_look(source, tmp_path):
    config = load_config(overrides(source, tmp_path, "train.steps=5"))
    atlas = atlases_of(config, "cpu")[0]
    steps, weights = [], []
    for every in (2, 5):
        stepper, looked = Stepper(starting_model(config), config, torch.device("cpu")), []
        parts = small_run(stepper, Feed(atlas, config, 0, 5), every, lambda s, looked=looked: looked.append(s.step))
        steps.append(looked)
        weights.append(stepper.model.state_dict())
    assert steps == [[0, 2, 4, 5], [0, 5]]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    assert len(parts) == 5 and {"loss", "coarse", "accuracy"} <= set(parts[0])
    assert means(parts, 2)["steps"] == [2, 4, 5]
    assert means(parts, 2)["coarse"][2] == pytest.approx(parts[4]["coarse"], abs=1e-4)
    assert means([], 2) == {"steps": []}


def test_dynamics_are_kept_and_animated(source, tmp_path, results):
    chosen = overrides(source, tmp_path, "train.steps=3")
    animation = tmp_path / "moves.webp"
    options = ["--every", "2", "--pairs", "1", "--animation", str(animation)]
    assert main(["training-dynamics", *chosen, *options]) == 0
    values = read_result("dynamics", results)["values"]
    assert [frame["step"] for frame in values["frames"]] == [0, 2, 3]
    assert values["training"]["steps"] == [2, 3]
    assert animation.stat().st_size > 1000
    assert figure_bytes(draw_curve(values["training"], values["frames"]), "png")


def test_where_a_run_stops_is_recorded(source, tmp_path, results, capsys, monkeypatch):
    tiny = [*TINY, "train.run=stopped", "train.steps=8", "train.patience=2", "train.min_delta=50"]
    monkeypatch.setattr(stopping_record, "REALLY", tiny)
    chosen = overrides(source, tmp_path, "train.steps=4", "train.validate_every=1", "train.min_delta=50")
    assert main(["early-stopping", *chosen, "train.patience=2", "--pairs", "4"]) == 0
    values = read_result("early_stopping", results)["values"]
    assert values["validation"]["steps"] == [0, 1, 2, 3, 4]
    assert set(values["validation"]["losses"]) == set(LEVELS)
    really = values["really"]
    assert (really["steps"], really["planned"], really["stop"]["stop_step"]) == (6, 8, 6)
    stop = values["stop"]
    assert (stop["best_step"], stop["stop_step"], stop["last_step"]) == (0, 2, 4)  # nothing gains 50 nats
    assert figure_bytes(draw_stopping(values), "png")
    assert main(["early-stopping", *chosen, "--pairs", "3"]) == 2
    assert "whole batches of 2 pairs" in capsys.readouterr().err


def test_the_time_of_a_step_is_drawn():
    assert figure_bytes(draw_time(read_result("training_speed")["values"]), "png")


def test_a_few_micrographs_are_enough_for_a_small_run(tmp_path):
    folder = few_micrographs(tmp_path / "few", 3, 2)
    learnt, held_out = (load_micrographs(split, folder) for split in ("train", "validation"))
    assert (len(learnt), len(held_out)) == (3, 2)
    assert not {one.specimen for one in learnt} & {one.specimen for one in held_out}
    assert all(one.modality for one in (*learnt, *held_out))
