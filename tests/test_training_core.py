"""The training core: torch and NumPy alone, the same numbers as Lightning, and a stop that changes nothing."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from microloftr.__main__ import main
from microloftr.config import load_config
from microloftr.config.plain import config_of
from microloftr.data.atlas import Atlas
from microloftr.errors import ConfigError
from microloftr.model.weights import load_model, recipe_of
from microloftr.training import core
from microloftr.training.feed import Feed, batch_of
from microloftr.training.packed import pack_atlas, read_config, read_job, unpack_atlas
from microloftr.training.run import train
from microloftr.training.speed import STAGES, _utilisation, show
from microloftr.training.start import atlases_of, starting_model
from microloftr.training.stepper import Stepper
from tests.training_run import overrides, write_source

CPU = torch.device("cpu")
BLOCKED = ("PIL", "cv2", "hydra", "imagecodecs", "kornia", "lightning", "omegaconf", "pandas", "safetensors", "skimage",
           "tifffile", "yaml")  # fmt: skip


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write_source(tmp_path_factory.mktemp("micrographs"))


@pytest.fixture(scope="module")
def options(source, tmp_path_factory):
    return overrides(source, tmp_path_factory.mktemp("runs"), "train.steps=4", "train.run=x", "train.average=0.9")


def exported(folder: Path, options: list[str]) -> Path:
    assert main(["train", "--export", str(folder), *options]) == 0
    return folder


def go(folder: Path) -> Path | None:
    config, recipe = read_config(folder / "config.json")
    model, atlases = read_job(folder, config, CPU)
    return core.run(config, atlases, model, folder, recipe, CPU)


def same(one: Path, two: Path) -> bool:
    left, right = load_file(one), load_file(two)
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def test_core_and_lightning_give_the_same_weights(options, tmp_path):
    """Same pairs, losses, clip, rate, optimizer and average: equal to the last bit."""
    by_core = go(exported(tmp_path / "job", options))
    again = [*options, f"train.out={tmp_path}"]
    by_lightning = train(load_config(again), progress=False, overrides=again)
    assert same(by_core, by_lightning)
    assert recipe_of(by_core)["pairs"] == recipe_of(by_lightning)["pairs"] == 8


def test_the_core_needs_torch_and_numpy_alone_and_its_weights_come_home(options, tmp_path):
    folder = exported(tmp_path / "job", options)
    code = (
        "import sys, runpy\n"
        f"sys.modules.update(dict.fromkeys({BLOCKED!r}))\n"  # None there: importing raises ImportError
        f"sys.argv = ['core', {str(folder / 'config.json')!r}]\n"
        "runpy.run_module('microloftr.training.core', run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "step 4/4" in done.stderr
    assert not (folder / "weights.safetensors").exists()
    assert main(["train", "--import", str(folder)]) == 0
    home = Path(read_config(folder / "config.json")[0].train.out) / "x"
    assert recipe_of(home / "weights.safetensors")["steps"] == 4
    assert "python -m microloftr train model=one_conv" in recipe_of(home / "weights.safetensors")["command"]
    for name in ("weights.pt", "checkpoint.pt", "log.jsonl"):
        (folder / name).unlink()
    assert same(go(folder), home / "weights.safetensors")
    assert {"config.yaml", "log.jsonl"} <= {path.name for path in home.iterdir()}


def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(options, tmp_path, monkeypatch, capsys):
    whole = go(exported(tmp_path / "whole", options))
    folder = exported(tmp_path / "parts", options)
    true_validate = core.validate

    def stopping(*arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        return true_validate(*arguments)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(core, "validate", stopping)
    assert go(folder) is None
    assert signal.getsignal(signal.SIGTERM) is before
    assert "stopped at step 2" in capsys.readouterr().err
    monkeypatch.setattr(core, "validate", true_validate)
    assert main(["train", "--import", str(folder)]) == 0  # of an unfinished run, its average
    home = Path(read_config(folder / "config.json")[0].train.out) / "x" / "weights.safetensors"
    assert recipe_of(home)["steps"] == 2
    assert load_model(home).config.preset == "one_conv"
    assert same(whole, go(folder))
    steps = [json.loads(line)["step"] for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert steps == [2, 4, 4]  # validation, then losses and validation
    assert main(["train", "--export", str(folder), *options]) == 2
    assert "holds a run that has begun" in capsys.readouterr().err


def test_an_average_that_starts_from_a_checkpoint(options, tmp_path):
    folder = exported(tmp_path / "job", options)
    go(folder)
    more = [*options, f"train.init={folder / 'checkpoint.pt'}", "train.run=y"]
    exported(tmp_path / "next", more)
    began = torch.load(tmp_path / "next" / "init.pt", weights_only=True)
    average = torch.load(folder / "checkpoint.pt", weights_only=True)["average"]
    assert all(torch.equal(value, average[f"module.{name}"]) for name, value in began.items())
    descent = {"checkpoint": "checkpoint.pt", "run": "job", "steps": 4}
    assert read_config(tmp_path / "next" / "config.json")[1]["descent"] == descent
    assert main(["train", "--export", str(tmp_path / "other"), *more, "model=micro"]) == 2


def test_a_packed_atlas_is_the_atlas(options, tmp_path):
    atlas, _ = atlases_of(load_config(options), "cpu")
    torch.save(pack_atlas(atlas), tmp_path / "atlas.pt")
    again = unpack_atlas(torch.load(tmp_path / "atlas.pt", weights_only=True), "cpu")
    for field in fields(Atlas):
        one, two = getattr(atlas, field.name), getattr(again, field.name)
        assert type(one) is type(two)
        for left, right in zip(one, two, strict=True) if isinstance(one, tuple) else [(one, two)]:
            assert np.array_equal(left, right) and getattr(left, "dtype", 0) == getattr(right, "dtype", 0)


def test_pairs_drawn_ahead_are_those_of_their_step(options):
    config = load_config(options)
    feed = Feed(atlases_of(config, "cpu")[0], config, 3, 9, ahead=4)
    for step, batch in zip(range(3, 9), feed, strict=True):
        assert batch.index.tolist() == [2 * step, 2 * step + 1]
        assert torch.equal(batch.images_1, feed.make(step, feed.draw(step)).images_1)


def test_speed_is_measured_by_stage(options, tmp_path):
    folder = exported(tmp_path / "job", options)
    assert core.main([str(folder / "config.json"), "--profile", "3"]) == 0
    values = json.loads((folder / "speed.json").read_text(encoding="utf-8"))
    assert tuple(values["share"]) == STAGES
    assert sum(values["share"].values()) == pytest.approx(1, abs=1e-3)
    assert values["pairs_per_s"] > 0 and values["device"] == "cpu" and values["utilisation"] is None
    assert show(values).startswith(f"{values['pairs_per_s']} pairs/s of 64×64")
    assert not (folder / "checkpoint.pt").exists()
    assert set(values["drawn_per_s"]) == {"threads_1", "threads_4"} and min(values["drawn_per_s"].values()) > 0


def fake_nvidia_smi(folder: Path, says: str) -> Path:
    """A program of that name that notes what it is asked and says this."""
    tool = folder / "nvidia-smi"
    tool.write_text(f'#!/bin/sh\necho "$@" >> "{folder}/asked"\necho "{says}"\n', encoding="utf-8")
    tool.chmod(0o755)
    return tool


@pytest.mark.parametrize(("says", "seen"), [("87", {87.0}), ("[N/A]", set()), ("", set())])
def test_how_busy_the_gpu_is_comes_from_nvidia_smi(says, seen, tmp_path, monkeypatch):
    fake_nvidia_smi(tmp_path, says)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    asked, began = tmp_path / "asked", time.monotonic()
    with _utilisation(True) as values:
        while time.monotonic() - began < 20 and not (asked.is_file() and len(asked.read_text().splitlines()) > 1):
            time.sleep(0.05)
    assert set(values) == seen
    assert asked.read_text().splitlines()[0] == "-i 3 --query-gpu=utilization.gpu --format=csv,noheader,nounits"
    before = len(asked.read_text().splitlines())
    time.sleep(0.6)
    assert len(asked.read_text().splitlines()) == before  # nobody asks any more
    with _utilisation(False) as values:  # no GPU is used: nobody asks
        time.sleep(0.3)
    assert values == [] and len(asked.read_text().splitlines()) == before


def test_nobody_knows_how_busy_a_gpu_is_without_nvidia_smi(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with _utilisation(True) as values:
        pass
    assert values == []


@pytest.mark.long
def test_a_compiled_step_is_the_same_step(source, tmp_path):
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler as error:
        pytest.skip(f"torch.compile has no compiler here: {error}")
    found = []
    for compiled in ("false", "true"):
        given = overrides(source, tmp_path, "train.run=x", "model=micro", f"train.compile={compiled}")
        config = load_config([*given, "train.steps=2", "train.decay=1"])
        stepper = Stepper(starting_model(config), config, CPU)
        names = list(stepper.model.state_dict())
        result = stepper.forward(batch_of(config, atlases_of(config, CPU)[0], 0))
        stepper.backward(result)
        gradients = [p.grad.clone() for p in stepper.parameters if p.grad is not None]
        stepper.descend()
        found.append((float(result.loss.detach()), gradients, names))
    (loss, gradients, names), (loss_2, gradients_2, names_2) = found
    assert loss_2 == pytest.approx(loss, rel=1e-4) and names_2 == names  # names of weights stay
    assert len(gradients) == len(gradients_2)
    scale = max(float(one.abs().max()) for one in gradients)
    assert all(torch.allclose(a, b, rtol=1e-2, atol=1e-3 * scale) for a, b in zip(gradients, gradients_2, strict=True))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is no configuration of a run"),
        ('{"format": 7}', "was not written by"),
        ('{"format": 1, "config": {"train": {"stepz": 3}}}', "unknown key train.stepz"),
        ('{"format": 1, "config": {"train": {"steps": 0}}}', "train.steps is 0"),
    ],
)
def test_a_wrong_config_is_one_line_and_exit_2(text, message, tmp_path, capsys):
    (tmp_path / "config.json").write_text(text, encoding="utf-8")
    assert core.main([str(tmp_path / "config.json")]) == 2
    shown = capsys.readouterr().err
    assert message in shown and shown.count("\n") == 1


def test_a_configuration_survives_json(options):
    config = load_config([*options, "train.loss.jitter=0.5", "model.layers=1"])
    assert config_of(json.loads(json.dumps(asdict(config)))) == config
    with pytest.raises(ConfigError, match=r"unknown key loss\.x"):
        config_of({"train": {"loss": {"x": 1}}})
