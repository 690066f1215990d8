"""`python -m microloftr early-stopping [KEY=VALUE …]`: a run that learns its few pairs by heart, and where it stops.

The run goes on to its last step, so that results/early_stopping.json holds what stopping early is worth. Beside it lies
one that Lightning really stopped: `one_conv` on two micrographs, by the command of training with `train.patience`.
"""

import argparse
import itertools
import shlex
import tempfile
from pathlib import Path
from typing import Any

from microloftr.config.plain import of_training
from microloftr.config.schema import load_config
from microloftr.data.levels import LEVELS
from microloftr.data.pairs import make_pairs
from microloftr.device import choose_device
from microloftr.errors import ParameterError
from microloftr.results import write_result
from microloftr.training.feed import indices_of
from microloftr.training.record import curves, stop_of, stopped
from microloftr.training.small_run import few_micrographs, means, small_run
from microloftr.training.start import atlases_of, starting_model
from microloftr.training.stepper import Stepper
from microloftr.training.validation import validate

RUN = (  # some minutes of one CPU core
    "train.init=xfeat", "data.crop=96", "data.batch=8",
    "train.steps=240", "train.lr=6e-4", "train.backbone_lr=3e-4", "train.warmup=10", "train.decay=1",
    "train.average=0.9", "train.validate_every=15", "train.validation_pairs=16", "train.patience=4",
)  # fmt: skip

REALLY = (  # under a minute
    "model=one_conv", "train=one_conv", "train.run=stopped", "data.crop=96", "data.batch=8", "train.steps=1000",
    "train.lr=3e-3", "train.backbone_lr=3e-3", "train.warmup=10", "train.decay=1", "train.average=0.9",
    "train.validate_every=20", "train.validation_pairs=32", "train.patience=4",
)  # fmt: skip


def really_stopped(device: str, learnt: int = 2) -> dict[str, Any]:
    """A run of the command on a few micrographs, which ends where its patience does: what it was given, where it ended.

    {"overrides", "micrographs", "planned" (steps), "steps" (made), "best_step", "shipped_step" (of the weights), and as
    `stop_of` tells it "stop"}.
    """
    from microloftr.model.weights import recipe_of
    from microloftr.training.run import train  # Lightning takes seconds to read

    with tempfile.TemporaryDirectory(prefix="microloftr_") as folder:
        source = few_micrographs(Path(folder) / "few", learnt, 3)
        chosen = [*REALLY, f"train.device={device}"]
        config = load_config([*chosen, f"data.folder={source}", f"train.out={folder}"])
        weights = train(config, progress=False, overrides=chosen)
        recipe, judge = recipe_of(weights), config.train
        stop = stop_of(curves(weights.parent), judge.patience, judge.min_delta, judge.judged)
    return {
        "overrides": list(REALLY),
        "micrographs": learnt,
        "planned": config.train.steps,
        "steps": recipe["steps"],
        "shipped_step": recipe["best_step"],
        "stop": stop,
    }


def main(argv: list[str]) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m microloftr early-stopping", description=__doc__.splitlines()[0])
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help=f"beside {' '.join(RUN)}")
    parser.add_argument("--pairs", type=int, default=64, help="all that there is to learn from; whole batches")
    arguments = parser.parse_args(argv)
    config = load_config([*RUN, *arguments.overrides])
    data, train = config.data, config.train
    if arguments.pairs < data.batch or arguments.pairs % data.batch or train.patience < 1:
        raise ParameterError(
            f"--pairs is {arguments.pairs} and train.patience {train.patience}; whole batches of {data.batch} pairs "
            f"and a patience of 1 or more are needed"
        )
    device = choose_device(train.device)
    learnt, held_out = atlases_of(config, device)
    few = [
        make_pairs(learnt, data.mixture, train.seed, indices_of(k, data.batch), data.crop)
        for k in range(arguments.pairs // data.batch)
    ]
    checked: list[dict[str, float]] = []

    def look(stepper: Stepper) -> None:
        checked.append({"step": stepper.step, **validate(stepper.average.module, held_out, config)})
        print(f"step {stepper.step}: validation loss {checked[-1]['validation_loss']:.3f}", flush=True)

    stepper = Stepper(starting_model(config), config, device)
    parts = small_run(stepper, itertools.islice(itertools.cycle(few), train.steps), train.validate_every, look)
    steps = [int(row["step"]) for row in checked]
    losses = [round(row["validation_loss"], 4) for row in checked]
    values = {
        "learnt_pairs": arguments.pairs,
        "training": means(parts, train.validate_every),
        "validation": {
            "steps": steps,
            "loss": losses,
            "losses": {level: [round(row[f"{level}/loss"], 4) for row in checked] for level in LEVELS},
            **{level: [round(row[f"{level}/accuracy"], 4) for row in checked] for level in LEVELS},
        },
        "stop": stopped(steps, losses, train.patience, train.min_delta),
        "really": really_stopped(str(device)),
        "config": of_training(config),
    }
    values["config"]["train"].pop("out")
    command = shlex.join(["python", "-m", "microloftr", "early-stopping", *argv])
    path = write_result(
        "early_stopping", values, command=command, seed=train.seed, device=str(device), split="validation"
    )
    stop = values["stop"]
    print(
        f"{path.name}: best at step {stop['best_step']}, stops at {stop['stop_step']}, goes on to {stop['last_step']}; "
        f"another really stops at {values['really']['steps']} of {values['really']['planned']}"
    )
    return 0
