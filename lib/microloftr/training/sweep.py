"""`python -m microloftr sweep KEY=A,B …`: a training with every combination of values, and a table of what came of it.

The commas are Hydra's: train.lr=1e-4,1e-3 train.seed=0,1 are four runs. A run that is there already is not made again.
"""

import argparse
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from microloftr.config.plain import Config
from microloftr.config.schema import load_config, several
from microloftr.data.levels import LEVELS
from microloftr.device import choose_device
from microloftr.errors import ConfigError
from microloftr.model.weights import recipe_of
from microloftr.results import write_result
from microloftr.training.record import curves
from microloftr.training.start import atlases_of, starting_model
from microloftr.training.validation import validate

MOST = 64  # runs: more are a slip of the finger


def sweep(overrides: Sequence[str]) -> dict[str, Any]:
    """Train with every combination, one after the other, each in a folder of its own: <out>/<run>/<its values>.

    {"keys": [what varies], "rows": [{"values": {key: text}, "loss" (validation, last), "accuracy": {level: last share
    of cells found}, "steps", "pairs"}, …], "untrained": {"loss", "accuracy"} of the first one's start}. Raises
    ConfigError, before anything is trained, for any wrong combination.
    """
    from microloftr.training.run import train  # Lightning takes seconds, and the table needs none of it

    combinations = several(overrides)
    if not 2 <= len(combinations) <= MOST:
        raise ConfigError(
            f"these overrides make {len(combinations)} runs; give a key several values, as train.lr=1e-4,1e-3, for 2 "
            f"to {MOST} in all"
        )
    settings = [dict(line.split("=", 1) for line in lines) for lines in combinations]
    keys = [key for key in settings[0] if len({values[key] for values in settings}) > 1]
    configs = [load_config(lines) for lines in combinations]
    rows = []
    for values, lines, config in zip(settings, combinations, configs, strict=True):
        varied = {key: values[key] for key in keys}
        run = f"{config.train.run}/{_folder(varied)}"
        path = train(load_config([*lines, f"train.run='{run}'"]), progress=False, overrides=lines)
        rows.append({"values": varied, **_came_of(path, config.train.judged)})
        print(f"{' '.join(f'{key}={value}' for key, value in varied.items())}: loss {rows[-1]['loss']}", flush=True)
    return {"keys": keys, "rows": rows, "untrained": _untrained(configs[0])}


def sweep_table(record: dict[str, Any]) -> str:
    """The runs of a record as a table, the best first."""
    values = record["values"]
    levels = list(values["rows"][0]["accuracy"])
    head = [*(f"`{key}`" for key in values["keys"]), "validation loss", *levels]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    rows = [*values["rows"]]
    if "untrained" in values:  # records of before have none
        rows.append({"values": dict.fromkeys(values["keys"], "untrained"), **values["untrained"]})
    for row in sorted(rows, key=lambda row: row["loss"]):
        found = [f"{row['accuracy'][level]:.1%}" for level in levels]
        lines.append("| " + " | ".join([*row["values"].values(), f"{row['loss']:.3f}", *found]) + " |")
    return "\n".join(lines)


def _came_of(weights: Path, judged: Sequence[str]) -> dict[str, Any]:
    levels = {level: run for level, run in curves(weights.parent)["validation"].items() if run["steps"]}
    losses = [levels[level]["loss"][-1] for level in judged]
    recipe = recipe_of(weights)
    return {
        "loss": round(sum(losses) / len(losses), 4),
        "accuracy": {level: run["accuracy"][-1] for level, run in levels.items()},
        "steps": recipe["steps"],
        "pairs": recipe["pairs"],
    }


def _untrained(config: Config) -> dict[str, Any]:
    """What a run starts from, judged as its validations are."""
    device = choose_device(config.train.device)
    found = validate(starting_model(config).to(device), atlases_of(config, device)[1], config)
    accuracy = {level: round(found[f"{level}/accuracy"], 4) for level in LEVELS}
    return {"loss": round(found["validation_loss"], 4), "accuracy": accuracy}


def _folder(varied: dict[str, str]) -> str:
    words = [f"{key.rpartition('.')[2]}-{value}" for key, value in varied.items()]
    return re.sub(r"[^\w.+-]", "-", "_".join(words))


def main(argv: list[str]) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m microloftr sweep", description=__doc__.splitlines()[0])
    parser.add_argument("overrides", nargs="+", metavar="KEY=A,B")
    parser.add_argument("--name", default="multirun", help="name of the record in results/")
    arguments = parser.parse_args(argv)
    values = sweep(arguments.overrides)
    told = [word for word in argv if not word.startswith("train.out=")]  # where it lay on somebody's disk says nothing
    command = shlex.join(["python", "-m", "microloftr", "sweep", *told])
    config = load_config(several(arguments.overrides)[0])
    record = {"seed": config.train.seed, "device": str(choose_device(config.train.device)), "split": "validation"}
    path = write_result(arguments.name, values, command=command, **record)
    print(f"\n{sweep_table({'values': values})}\n\n{path.name}: {len(values['rows'])} runs")
    return 0
