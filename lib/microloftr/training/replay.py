"""`python -m microloftr replay FOLDER --step K`: the very batch of a run's step again, its losses, and a sheet of it.

For a run that stopped with a message (`Watch`), or any step that one wants to see. It trains on from the last
checkpoint to that step, so that loss and gradient are those of the failure, also where the weights are to blame and not
the batch; `--quick` takes the checkpoint's weights as they are.
"""

import argparse
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import yaml

from microloftr.config.plain import Config, config_of
from microloftr.data.atlas import Atlas
from microloftr.data.pairs import PairBatch
from microloftr.device import choose_device
from microloftr.errors import ParameterError
from microloftr.files import atomic_write
from microloftr.training.checkpoints import LAST
from microloftr.training.descent import clip, step_generator
from microloftr.training.feed import batch_of, indices_of
from microloftr.training.packed import load_tensors, read_config, read_job
from microloftr.training.start import atlases_of, averaged_weights, starting_model
from microloftr.training.step import pair_loss
from microloftr.training.stepper import Stepper
from microloftr.views.sheet import fitting


@dataclass(frozen=True)
class Replay:
    """A step again. `pairs`: its pairs' numbers; `names`: their micrographs; `losses`: of each pair alone; `loss` and
    `gradient` (its norm) of the whole batch, in the weights that the run had after `weights_step` steps: those of the
    step itself where these are equal."""

    config: Config
    step: int
    pairs: list[int]
    names: list[str]
    batch: PairBatch
    weights_step: int
    loss: float
    gradient: float
    losses: list[float]


def replay(folder: Path, step: int, exact: bool = True) -> Replay:
    """The batch of a step (counted from 0) of the run in `folder`, by its last checkpoint or, before one, its start.

    exact: make the steps between once more, without averaging or writing anything; a checkpoint of later is taken as
    it is, for no step can be unmade.

    A run of Lightning (config.yaml, last.ckpt) or of the core (config.json, checkpoint.pt). Raises ParameterError
    where the folder holds neither, or the run has no such step.
    """
    config, stepper, atlas = _run_of(folder)
    if not 0 <= step < config.train.steps:
        raise ParameterError(f"--step is {step}; the run {config.train.run!r} has steps 0 to {config.train.steps - 1}")
    while exact and stepper.step < step:
        stepper.backward(stepper.forward(batch_of(config, atlas, stepper.step)))
        stepper.descend()
    batch, model, weights_step = batch_of(config, atlas, step), stepper.model, stepper.step
    stepper.optimizer.zero_grad()
    autocast = torch.bfloat16 if config.train.precision == "bf16" else None

    def loss_of(share: slice) -> torch.Tensor:
        generator = step_generator(config.train.seed, step, batch.images_0.device)
        return pair_loss(model, batch, config.train.loss, generator, autocast, share).loss

    loss = loss_of(slice(None))
    loss.backward()
    gradient = clip([p for p in model.parameters() if p.grad is not None], math.inf)
    with torch.no_grad():
        losses = [float(loss_of(slice(k, k + 1))) for k in range(len(batch))]
    names = [atlas.names[m] for m in batch.micrograph.tolist()]
    pairs = indices_of(step, config.data.batch).tolist()
    values = (float(loss.detach()), float(gradient), losses)
    return Replay(config, step, pairs, names, batch, weights_step, *values)


def told(again: Replay) -> str:
    """A replay in a few lines, the worst pair first."""
    head = (
        f"step {again.step} (seed {again.config.train.seed}, pairs {again.pairs[0]} to {again.pairs[-1]}) in the "
        f"weights of step {again.weights_step}: loss {again.loss:.6g}, gradient {again.gradient:.6g}"
    )
    order = sorted(range(len(again.pairs)), key=lambda k: (math.isfinite(again.losses[k]), -again.losses[k]))
    lines = []
    for k in order:
        both = torch.stack((again.batch.images_0[k], again.batch.images_1[k]))
        pixels = f"{both.min():.3g} to {both.max():.3g}" if both.isfinite().all() else "some that are no number"
        lines.append(f"pair {again.pairs[k]}: {again.names[k]}, loss {again.losses[k]:.6g}, pixels {pixels}")
    return "\n".join([head, *lines])


def _run_of(folder: Path) -> tuple[Config, Stepper, Atlas]:
    """Configuration, all that changes with a step as the last checkpoint has it, and the micrographs learnt from."""
    if (folder / "config.json").is_file():
        config, _ = read_config(folder / "config.json")
        device = choose_device(config.train.device)
        model, (atlas, _) = read_job(folder, config, device)
        checkpoint = folder / "checkpoint.pt"
    elif (folder / "config.yaml").is_file():
        config = config_of(yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8")))
        device = choose_device(config.train.device)
        model, (atlas, _) = starting_model(config), atlases_of(config, device)
        checkpoint = folder / LAST
    else:
        raise ParameterError(f"{folder} is no folder of a run: it holds neither config.yaml nor config.json")
    stepper = Stepper(model, config, device)
    if checkpoint.is_file():
        state = load_tensors(checkpoint)
        stepper.load(state if "step" in state else _by_lightning(state))
    return config, stepper, atlas


def _by_lightning(state: dict[str, Any]) -> dict[str, Any]:
    """What `Stepper.load` takes, from a checkpoint of Lightning."""
    weights = {name.removeprefix("model."): value for name, value in state["current_model_state"].items()}
    average = {f"module.{name}": value for name, value in averaged_weights(state).items()}
    average["n_averaged"] = torch.tensor(state["global_step"])
    step, optimizer = state["global_step"], state["optimizer_states"][0]
    return {"model": weights, "average": average, "optimizer": optimizer, "step": step}


def main(argv: list[str]) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m microloftr replay", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="a run's folder, as runs/micro")
    parser.add_argument("--step", type=int, required=True, help="which step, counted from 0")
    parser.add_argument("--quick", action="store_true", help="in the last checkpoint's weights, as they are")
    arguments = parser.parse_args(argv)
    again = replay(arguments.folder, arguments.step, exact=not arguments.quick)
    print(told(again))
    path = arguments.folder / f"step{again.step:06d}.png"
    told_of = zip(again.pairs, again.names, again.losses, strict=True)
    labels = [f"pair {pair}  {name}  loss {loss:.4g}" for pair, name, loss in told_of]
    batch = again.batch
    images = {name: getattr(batch, name).nan_to_num().clamp(0, 1) for name in ("images_0", "images_1")}
    with atomic_write(path) as temporary:
        temporary.write_bytes(fitting(replace(batch, **images), labels))
    print(f"seen in: {path}")
    return 0
