"""The same configuration and seed give the same pairs and weights, whatever kills the run on its way."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from microloftr.__main__ import main
from microloftr.config import load_config
from microloftr.training.feed import Feed, batch_of, indices_of
from microloftr.training.packed import load_tensors
from microloftr.training.run import train
from microloftr.training.start import atlases_of, starting_model
from microloftr.training.step import pair_loss
from microloftr.training.supervision import supervise
from tests.training_run import ROOT, overrides, same_tensors, same_weights, write_source

STEPS = 8


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write_source(tmp_path_factory.mktemp("micrographs"))


@pytest.fixture(scope="module")
def whole(source, tmp_path_factory):
    """Weights of a run that nothing happened to, by Lightning (the core gives the same: test_training_core.py)."""
    out = tmp_path_factory.mktemp("whole")
    return run(overrides(source, out, f"train.steps={STEPS}", "train.run=x"))


def run(options: list[str]) -> Path:
    return train(load_config(options), progress=False, overrides=options)


def killed(way: str, source: Path, out: Path, ends: list, *more: str) -> tuple[list[str], Path, str]:
    """How processes ended that `tests/killed_run.py` did this to, the run's folder, and what they said."""
    options = overrides(source, out, f"train.steps={STEPS}", "train.run=x", *more)
    folder = out / "x" if way == "lightning" else out / "job"
    if way == "core":
        assert main(["train", "--export", str(folder), *options]) == 0
    job = {"way": way, "overrides": options, "folder": str(folder), "ends": ends}
    line = [sys.executable, "-m", "tests.killed_run", json.dumps(job)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), folder, done.stderr


def test_the_same_seed_gives_the_same_pairs_and_weights(source, whole, tmp_path):
    again = run(overrides(source, tmp_path, f"train.steps={STEPS}", "train.run=x"))
    assert same_weights(whole, again)
    states = [load_tensors(path.parent / "last.ckpt") for path in (whole, again)]
    for part in ("state_dict", "current_model_state"):
        assert same_tensors(*(state[part] for state in states))
    other = run(overrides(source, tmp_path, f"train.steps={STEPS}", "train.run=y", "train.seed=1"))
    assert not same_weights(whole, other)


def test_micro_in_bf16_is_the_same_twice_and_resumed(source, tmp_path):
    """The model and the precision that are shipped, not the small baseline in float32."""
    tiny = [option for option in overrides(source, tmp_path) if option not in ("model=one_conv", "train.precision=32")]
    tiny += ["model=micro", "train.precision=bf16"]
    whole, again = (run([*tiny, "train.steps=4", f"train.run={name}"]) for name in ("whole", "again"))
    run([*tiny, "train.steps=2", "train.run=parts"])
    parts = run([*tiny, "train.steps=4", "train.run=parts"])
    assert same_weights(whole, again) and same_weights(whole, parts)


def test_the_order_of_pairs_depends_neither_on_workers_nor_on_a_resume(source, tmp_path):
    config = load_config(overrides(source, tmp_path, "train.steps=9"))
    atlas, _ = atlases_of(config, "cpu")
    expected = [batch_of(config, atlas, step) for step in range(9)]
    assert [batch.index.tolist() for batch in expected] == [indices_of(step, 2).tolist() for step in range(9)]
    for first, workers, ahead in ((0, 1, 1), (0, 4, 8), (5, 3, 2)):
        feed = Feed(atlas, config, first, 9, ahead)
        feed.workers = workers
        for batch, true in zip(feed, expected[first:], strict=True):
            assert torch.equal(batch.index, true.index)
            assert torch.equal(batch.images_0, true.images_0) and torch.equal(batch.images_1, true.images_1)


def test_a_killed_run_ends_with_the_same_weights(source, whole, tmp_path):
    step = int(np.random.default_rng().integers(1, STEPS))
    ends, folder, said = killed("lightning", source, tmp_path, [[step, "step"], [step, "writing"]])
    assert ends == ["killed", "killed", "status 0"], (step, said)
    assert same_weights(whole, folder / "weights.safetensors"), step
    assert not list(folder.glob(".*"))  # what was half-written is gone


@pytest.mark.long
@pytest.mark.parametrize("way", ["lightning", "core"])
def test_a_run_killed_at_twenty_steps_ends_with_the_same_weights(way, source, tmp_path):
    """Every process goes on where the checkpoint of the one before stood; one in five is killed while it writes."""
    generator = np.random.default_rng()
    more = ("train.steps=60", "train.validate_every=3", "train.average=0.9")
    steps = sorted(generator.choice(np.arange(1, 58), 20, replace=False).tolist())
    ends = [[step, "writing" if k % 5 == 4 else "step"] for k, step in enumerate(steps)]
    seen, folder, said = killed(way, source, tmp_path, ends, *more)
    assert seen == ["killed"] * 20 + ["status 0"], (steps, said)
    true = run(overrides(source, tmp_path / "true", "train.run=x", *more))
    assert same_weights(true, folder / "weights.safetensors"), steps


@pytest.mark.long
@pytest.mark.parametrize("way", ["lightning", "core"])
def test_a_checkpoint_stays_loadable_whatever_happens_to_the_next(way, source, whole, tmp_path):
    """Killed in the middle of the write, and where no file can grow any more, as on a full disk."""
    ends, folder, said = killed(way, source, tmp_path, [[3, "writing"], [5, "full"], [5, "step"]])
    assert ends == ["killed", "status 2", "killed", "status 0"], said
    assert "cannot be written" in said and "what was there before is whole" in said
    assert same_weights(whole, folder / "weights.safetensors")


def test_the_mean_of_shares_is_the_whole_batch(source, tmp_path):
    """What each of two processes learns from; some pairs of these show all of each other, and have nothing to say."""
    chosen = [option for option in overrides(source, tmp_path, "data.batch=4") if option != "model=one_conv"]
    config = load_config([*chosen, "model=micro", "data.mixture=easy"])
    batch, model = batch_of(config, atlases_of(config, "cpu")[0], 0), starting_model(config).eval()
    truth = supervise(batch)
    assert len(set(truth.unmatchable_0.any(1)[:2].tolist() + truth.unmatchable_0.any(1)[2:].tolist())) == 2

    def learnt(share):
        model.zero_grad()
        generator = torch.Generator().manual_seed(0)
        result = pair_loss(model, batch, config.train.loss, generator, share=share)
        result.loss.backward()
        gradients = torch.cat([parameter.grad.flatten() for parameter in model.parameters()])
        return torch.stack([result.parts[name] for name in ("coarse", "matchability", "heat", "offset")]), gradients

    (parts, gradients), *halves = (learnt(share) for share in (slice(None), slice(0, 2), slice(2, 4)))
    assert torch.allclose(sum(half[0] for half in halves) / 2, parts, rtol=1e-5)
    assert (sum(half[1] for half in halves) / 2 - gradients).norm() < 1e-4 * gradients.norm()


@pytest.mark.long
def test_two_processes_are_one_with_the_same_batch(source, tmp_path):
    """Lightning's DDP over gloo: the mean of two shares' gradients is the whole batch's, but for rounding."""
    options = [option for option in overrides(source, tmp_path) if option != "model=one_conv"]
    options += ["model=micro", "data.batch=4", "data.mixture=easy"]
    paths = {}
    for steps, devices in ((1, 1), (1, 2), (4, 1), (4, 2)):
        more = [f"train.steps={steps}", f"train.validate_every={steps}", f"train.warmup={min(steps, 2)}"]
        more += [f"train.devices={devices}", f"train.run=s{steps}d{devices}", "--quiet"]
        line = [sys.executable, "-m", "microloftr", "train", *options, *more]
        done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        paths[steps, devices] = tmp_path / f"s{steps}d{devices}"
        assert done.stdout == f"weights: {paths[steps, devices] / 'weights.safetensors'}\n"  # one process speaks
    began = starting_model(load_config(options)).state_dict()
    states = {key: load_tensors(path / "last.ckpt") for key, path in paths.items()}
    one, two = (gradients(states[1, devices]) for devices in (1, 2))  # Adam's first mean is a tenth of the gradient
    assert one.norm() > 0 and (one - two).norm() < 1e-3 * one.norm()
    one, two = (states[4, devices]["current_model_state"] for devices in (1, 2))
    for name, value in one.items():  # as a whole: Adam makes a full step of a gradient that is but rounding
        moved = (value - began[name.removeprefix("model.")]).norm()
        assert (value - two[name]).norm() <= 0.02 * moved + 1e-6, name


def gradients(state: dict) -> torch.Tensor:
    """What the optimizer of a checkpoint remembers of them, all in one."""
    return torch.cat([value["exp_avg"].flatten() for value in state["optimizer_states"][0]["state"].values()])
