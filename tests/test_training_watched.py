"""What happens beside the steps of a run: stopping, best and last, pictures, logs, and a step that goes wrong."""

import csv
import io
import re
import shlex
import struct
from functools import partial
from pathlib import Path

import pytest
import torch
from PIL import Image
from tensorboardX.proto.event_pb2 import Event

from microloftr.__main__ import main
from microloftr.config import load_config
from microloftr.errors import ConfigError, MicroLoFTRError
from microloftr.model.weights import recipe_of
from microloftr.results import read_result, write_result
from microloftr.training import callbacks, module, run, stepper, sweep
from microloftr.training import replay as replaying
from microloftr.training.feed import batch_of
from microloftr.training.machine import cpu_name
from microloftr.training.packed import load_tensors
from microloftr.training.record import curves
from microloftr.training.replay import replay
from microloftr.training.start import atlases_of, averaged_weights, starting_model
from microloftr.training.stopping import stopping_point
from microloftr.training.watch import Watch
from tests.training_run import overrides, same_weights, write_source


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write_source(tmp_path_factory.mktemp("micrographs"))


def by_lightning(options):
    return run.train(load_config(options), progress=False, overrides=options)


def by_core(options, folder):
    assert main(["train", "--export", str(folder), *options]) == 0
    from microloftr.training.core import main as core

    return core([str(folder / "config.json")])


def validated(folder):
    rows = [row for path in sorted(folder.glob("metrics*.csv")) for row in csv.DictReader(path.open(newline=""))]
    rows = {int(row["step"]) + 1: float(row["validation_loss"]) for row in rows if row.get("validation_loss")}
    return [rows[step] for step in sorted(rows)]


def test_patience_stops_both_ways_at_the_same_step_and_ships_the_best(source, tmp_path, capsys):
    more = ("train.run=x", "train.average=0.5", "train.patience=2")
    options = overrides(source, tmp_path, "train.steps=10", "train.min_delta=9", *more)  # which nothing gains
    path = by_lightning(options)
    losses = validated(tmp_path / "x")
    stop = stopping_point(losses, 2, 9)
    assert (stop.best, stop.index, len(losses)) == (0, 2, 3)
    recipe, best = recipe_of(path), load_tensors(tmp_path / "x" / "best.ckpt")
    lowest = 2 * (losses.index(min(losses)) + 1)
    assert (recipe["steps"], recipe["best_step"], best["global_step"]) == (6, lowest, lowest)
    assert load_tensors(tmp_path / "x" / "last.ckpt")["global_step"] == 6
    kept = path.read_bytes()
    assert by_lightning(options).read_bytes() == kept  # its patience is at its end: nothing is trained
    assert by_core(options, tmp_path / "job") == 0
    assert same_weights(path, tmp_path / "job" / "weights.safetensors")
    assert recipe_of(tmp_path / "job" / "weights.safetensors")["best_step"] == lowest
    again = by_lightning([*options, "train.patience=3"])
    assert recipe_of(again)["steps"] == 8  # with more patience it goes on
    capsys.readouterr()


def test_best_is_the_average_that_validated_best(source, tmp_path):
    path = by_lightning(overrides(source, tmp_path, "train.steps=4", "train.run=x", "train.lr=0.2"))  # worse and worse
    losses = validated(path.parent)
    best = load_tensors(path.parent / "best.ckpt")
    assert best["global_step"] == 2 * (losses.index(min(losses)) + 1)
    assert averaged_weights(best).keys() == {name.removeprefix("model.") for name in best["current_model_state"]}
    assert sorted(p.name for p in path.parent.glob("*.ckpt")) == ["best.ckpt", "last.ckpt"]


def test_predictions_are_drawn_and_training_is_the_same(source, tmp_path):
    plain = by_lightning(overrides(source, tmp_path, "train.steps=4", "train.run=plain"))
    for steps in (2, 4):  # stopped and gone on with
        drawn = by_lightning(
            overrides(source, tmp_path, f"train.steps={steps}", "train.run=drawn", "train.draw_every=2")
        )
    assert same_weights(plain, drawn)
    folder = drawn.parent / "dynamics"
    names = ["animation.webp", "step000000.png", "step000002.png", "step000004.png", "strip.png"]
    assert sorted(path.name for path in folder.iterdir()) == names
    with Image.open(folder / "animation.webp") as animation:
        assert animation.n_frames == 3
    one, strip = (Image.open(folder / name).size for name in ("step000000.png", "strip.png"))
    assert strip[0] / strip[1] > 2.5 * one[0] / one[1]  # three beside each other
    assert not (plain.parent / "dynamics").exists()


def test_a_run_is_quiet_and_logs_twice(source, tmp_path, capfd):
    path = by_lightning(overrides(source, tmp_path, "train.steps=4", "train.run=x"))
    assert capfd.readouterr() == ("", "")
    tags = {value.tag for event in events(path.parent / "tensorboard") for value in event.summary.value}
    assert {"validation_loss", "easy/accuracy"} <= tags
    header = (path.parent / "metrics.csv").read_text(encoding="utf-8").splitlines()[0]
    assert "validation_loss" in header and "easy/accuracy" in header


def events(folder: Path) -> list[Event]:
    """TensorBoard's file: length, its checksum, the event, its checksum."""
    found = []
    for path in folder.glob("events*"):
        stream = io.BytesIO(path.read_bytes())
        while head := stream.read(12):
            found.append(Event.FromString(stream.read(struct.unpack("<Q", head[:8])[0])))
            stream.read(4)
    return found


def test_the_bar_is_where_somebody_looks_and_on_stderr(source, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(callbacks, "shown", lambda: True)
    options = overrides(source, tmp_path, "train.steps=5", "train.run=x")
    run.train(load_config(options), overrides=options)
    out, err = capsys.readouterr()
    assert out == ""
    assert "x: 5 steps of 2 pairs" in err and "training: 100%" in err and "5/5" in err and "v_num" not in err


@pytest.fixture
def broken(monkeypatch):
    """The loss of step 3 is no number; what was seen there."""
    seen, true = [], stepper.pair_loss

    def loss(model, batch, *rest):
        result = true(model, batch, *rest)
        if int(batch.index[0]) == 6:
            seen.append(batch)
            result = type(result)(result.loss * float("nan"), result.parts)
        return result

    for place in (module, stepper):
        monkeypatch.setattr(place, "pair_loss", loss)
    return seen


@pytest.mark.parametrize("way", ["lightning", "core"])
def test_a_loss_that_is_no_number_stops_the_run_and_one_call_replays_its_batch(way, source, tmp_path, broken, capsys):
    options = overrides(source, tmp_path, "train.steps=8", "train.run=x")
    folder = tmp_path / ("x" if way == "lightning" else "job")
    status = main(["train", "--quiet", *options]) if way == "lightning" else by_core(options, folder)
    said = capsys.readouterr().err
    assert status == 2
    assert "the loss of step 3 is nan (seed 0, pairs 6 to 7)" in said
    last = load_tensors(folder / ("last.ckpt" if way == "lightning" else "checkpoint.pt"))
    assert last.get("global_step", last.get("step")) == 2
    command = shlex.split(re.search(r"python -m microloftr (replay \S+ --step \d+)", said)[1])
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("step 3 (seed 0, pairs 6 to 7) in the weights of step 3: loss ")
    assert "pair 6: " in shown and "pair 7: " in shown
    assert Image.open(folder / "step000003.png").width > 300
    again = replay(folder, 3)
    for name in ("images_0", "images_1", "homography"):
        assert torch.equal(getattr(again.batch, name), getattr(broken[0], name))
    assert again.pairs == [6, 7] and again.loss > 0 and len(again.losses) == 2


@pytest.mark.parametrize("way", ["lightning", "core"])
def test_a_failure_that_the_weights_are_to_blame_for_is_replayed_too(way, source, tmp_path, monkeypatch, capsys):
    """The loss is no number once the scale has passed a value that it reaches after the last checkpoint."""
    true, seen, limit = stepper.pair_loss, {}, []

    def loss(model, batch, *rest):
        result, scale = true(model, batch, *rest), float(model.coarse_matching.log_scale.detach())
        if model.training and len(batch) == 2:
            seen[int(batch.index[0]) // 2] = scale, float(result.loss.detach())
        bad = bool(limit) and model.training and scale == limit[0]
        return type(result)(result.loss * float("nan"), result.parts) if bad else result

    for place in (module, stepper, replaying):
        monkeypatch.setattr(place, "pair_loss", loss)
    options = overrides(source, tmp_path, "train.steps=6", "train.lr=1e-2")
    by_lightning([*options, "train.run=good"])
    assert seen[4][0] != seen[5][0]
    scale, loss_of_step = seen[5]
    limit.append(scale)
    folder = tmp_path / ("x" if way == "lightning" else "job")
    status = main(["train", "--quiet", *options, "train.run=x"]) if way == "lightning" else by_core(
        [*options, "train.run=x"], folder)  # fmt: skip
    assert status == 2 and "the loss of step 5 is nan" in capsys.readouterr().err
    again, quick = replay(folder, 5), replay(folder, 5, exact=False)
    assert again.weights_step == 5 and again.loss != again.loss  # NaN, as the run's
    assert quick.weights_step == 4 and quick.loss == quick.loss
    assert main(["replay", str(folder), "--step", "5", "--quick"]) == 0
    assert "in the weights of step 4: loss " in capsys.readouterr().out
    limit.clear()
    assert replay(folder, 5).loss == loss_of_step  # to the last bit what it was


def test_gradients_are_clipped_and_their_norm_is_logged(source, tmp_path):
    options = overrides(source, tmp_path, "train.clip=1e-3", "train.steps=20", "train.run=x")
    config = load_config(options)
    learning = stepper.Stepper(starting_model(config), config, torch.device("cpu"))
    learning.backward(learning.forward(batch_of(config, atlases_of(config, "cpu")[0], 0)))

    def norm():
        return float(torch.cat([parameter.grad.flatten() for parameter in learning.parameters]).norm())

    before = norm()
    learning.descend()
    assert before > 0.1 and float(learning.norm) == pytest.approx(before) and norm() == pytest.approx(1e-3, rel=1e-3)
    path = by_lightning(options)
    assert by_core(options, tmp_path / "job") == 0
    ours, theirs = curves(path.parent)["gradient"], curves(tmp_path / "job")["gradient"]
    assert ours[0] > 0.1 and theirs[0] > 0.1  # before the clip; one logs every tenth step, the other their mean


def test_the_last_step_is_drawn_too(source, tmp_path):
    path = by_lightning(overrides(source, tmp_path, "train.steps=3", "train.draw_every=2", "train.run=x"))
    pictures = sorted(p.name for p in (path.parent / "dynamics").glob("step*"))
    assert pictures == ["step000000.png", "step000002.png", "step000003.png"]


def test_a_resume_with_other_threads_is_one_line(source, tmp_path, capsys):
    threads = torch.get_num_threads()
    try:
        for steps, count in ((2, 1), (4, 2)):
            torch.set_num_threads(count)
            path = by_lightning(overrides(source, tmp_path, f"train.steps={steps}", "train.run=x"))
            said = capsys.readouterr().err
            assert bool(said) == (count == 2)
        assert said.startswith("this run had 1 threads and goes on with 2: ") and said.count("\n") == 1
        recipe = recipe_of(path)
        assert recipe["threads"] == 2 and recipe["torch"] == torch.__version__ and recipe["cpu"]
    finally:
        torch.set_num_threads(threads)
    assert cpu_name(tmp_path / "nowhere")


def test_replay_says_what_it_cannot(source, tmp_path, capsys):
    assert main(["replay", str(tmp_path), "--step", "1"]) == 2
    assert "holds neither config.yaml nor config.json" in capsys.readouterr().err
    by_lightning(overrides(source, tmp_path, "train.steps=2", "train.run=x"))
    assert main(["replay", str(tmp_path / "x"), "--step", "2"]) == 2
    assert "has steps 0 to 1" in capsys.readouterr().err


def test_a_loss_that_explodes_stops_the_run_before_it_moves_the_weights(source, tmp_path, capsys):
    options = overrides(source, tmp_path, "train.steps=4", "train.run=x", "train.max_loss=0.5")
    assert main(["train", "--quiet", *options]) == 2
    assert re.search(r"the loss of step 0 is \d+\.\d+, above train.max_loss=0.5 \(seed 0", capsys.readouterr().err)
    assert not list((tmp_path / "x").glob("*.ckpt"))


def test_a_watch_names_the_first_bad_step_however_late_it_looks():
    class OnDevice(torch.Tensor):
        """A tensor that says it lies on a GPU, where every look is a wait."""

        device = torch.device("cuda")

        def detach(self):
            return self

        def float(self):
            return torch.tensor(self.tolist())

    watch = Watch(load_config(["train.init=none"]), "RUN")
    for step in range(5):
        watch.see(step, "loss", torch.tensor(float("nan") if step >= 3 else 1.0).as_subclass(OnDevice))
        watch.see(step, "gradient", torch.tensor(float("inf") if step >= 2 else 1.0).as_subclass(OnDevice))
    with pytest.raises(MicroLoFTRError, match=r"the gradient of step 2 is inf \(seed 0, pairs 32 to 47\)"):
        watch.check()


def test_a_sweep_tries_every_combination_and_makes_a_table(source, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sweep, "write_result", partial(write_result, folder=tmp_path / "results"))
    options = overrides(source, tmp_path, "train.steps=2", "train.run=tried")
    assert main(["sweep", *options, "train.lr=1e-3,1e-4"]) == 0
    record = read_result("multirun", tmp_path / "results")
    assert record["values"]["keys"] == ["train.lr"]
    assert [row["values"] for row in record["values"]["rows"]] == [{"train.lr": "0.001"}, {"train.lr": "0.0001"}]
    table = sweep.sweep_table(record).splitlines()
    assert table[0] == "| `train.lr` | validation loss | easy | medium | hard | extreme |" and len(table) == 5
    assert sum(line.startswith("| untrained |") for line in table) == 1
    losses = [float(line.split("|")[2]) for line in table[2:]]
    assert losses == sorted(losses)
    assert table[2] in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "tried").iterdir()) == ["lr-0.0001", "lr-0.001"]
    with pytest.raises(ConfigError, match="make 1 runs; give a key several values"):
        sweep.sweep(options)
    with pytest.raises(ConfigError, match="make 100 runs"):
        sweep.sweep([*options, f"train.seed={','.join(map(str, range(100)))}"])
