"""`python -m microloftr profile-training [KEY=VALUE …]`: the speed of training here, as results/training_speed.json."""

import argparse
import shlex

from microloftr.config.schema import load_config
from microloftr.device import choose_device
from microloftr.results import write_result
from microloftr.training.speed import describe, measure, show
from microloftr.training.start import atlases_of, starting_model


def main(argv: list[str]) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m microloftr profile-training", description=__doc__.splitlines()[0])
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--steps", type=int, default=20, help="measured steps, twice")
    parser.add_argument("--name", default="training_speed", help="name of the record in results/")
    arguments = parser.parse_args(argv)
    config = load_config(arguments.overrides)
    device = choose_device(config.train.device)
    values = measure(config, atlases_of(config, device), starting_model(config), device, max(arguments.steps, 1))
    command = shlex.join(["python", "-m", "microloftr", "profile-training", *argv])
    record = {"seed": config.train.seed, "device": describe(device), "split": "train"}
    path = write_result(arguments.name, values, command=command, **record)
    print(f"{path.name}: {show(values)}")
    return 0
