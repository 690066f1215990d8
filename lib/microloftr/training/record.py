"""`python -m microloftr training-record FOLDER`: a run's curves as a small record, results/training.json."""

import argparse
import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from microloftr.config.plain import JUDGED, TrainConfig, of_training
from microloftr.data.levels import LEVELS
from microloftr.errors import ParameterError
from microloftr.model.weights import recipe_of
from microloftr.results import write_result
from microloftr.training.descent import rate
from microloftr.training.packed import read_config
from microloftr.training.stopping import stopping_point

PARTS = ("loss", "coarse", "matchability", "heat", "offset", "accuracy", "gradient")


def curves(folder: Path, every: int = 50) -> dict[str, Any]:
    """Means over `every` steps of the logged losses, and the validation of each level, of all parts of a run in order.

    {"steps": […], "coarse": […], …, "validation": {level: {"steps": […], "accuracy": […], …}}}, and "pairs_per_s"
    where the run noted it. Where a part was resumed from an earlier checkpoint, the later rows count.
    """
    rows: dict[tuple[str, int], dict[str, float]] = {}
    for values in _rows(folder):
        kind = "train" if "loss" in values else "validation" if "validation_loss" in values else "other"
        rows[kind, int(values["step"])] = values
    trained = sorted((step, values) for (kind, step), values in rows.items() if kind == "train")
    blocks: dict[int, list[dict[str, float]]] = {}
    for step, values in trained:
        blocks.setdefault(step // every, []).append(values)
    last = trained[-1][0] + 1 if trained else 0  # the last block may be a shorter one
    result: dict[str, Any] = {"steps": [min((block + 1) * every, last) for block in blocks]}
    for name in (*PARTS, "pairs_per_s"):
        if all(name in values for values in (block[0] for block in blocks.values())):
            result[name] = [round(sum(v[name] for v in block) / len(block), 4) for block in blocks.values()]
    checked = sorted((step + 1, values) for (kind, step), values in rows.items() if kind == "validation")
    result["validation"] = {
        level: {
            "steps": [step for step, _ in checked],
            **{
                name: [round(values[f"{level}/{name}"], 4) for _, values in checked]
                for name in PARTS
                if checked and f"{level}/{name}" in checked[0][1]
            },
        }
        for level in LEVELS
    }
    return result


def stop_of(
    values: dict[str, Any], patience: int, min_delta: float = 0.0, judged: Sequence[str] = JUDGED
) -> dict[str, Any] | None:
    """Where the rule would have stopped a run, by its curves; None where it made no validation.

    {"judged" (in words), "steps", "losses" (the mean of these levels), "patience", "min_delta", "best_step", "best",
    "stop_step" (None where it does not stop), "last_step", "last"}.
    """
    levels = [run for level, run in values["validation"].items() if run["steps"] and level in judged]
    if not levels:
        return None
    steps = levels[0]["steps"]
    losses = [round(sum(at) / len(at), 4) for at in zip(*(run["loss"] for run in levels), strict=True)]
    named = " and ".join(level for level in values["validation"] if level in judged)
    return {"judged": named, "steps": steps, "losses": losses, **stopped(steps, losses, patience, min_delta)}


def rates_of(values: dict[str, Any]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Learning rates of a record's run, as its configuration sets them: {"backbone": (steps, rates), "the rest": …}."""
    train = values["config"]["train"]
    schedule = TrainConfig(**{key: train[key] for key in ("steps", "warmup", "decay")})
    steps = np.unique(np.linspace(0, train["steps"] - 1, 400).astype(int))
    shares = np.array([rate(int(step), schedule) for step in steps])
    return {"the rest": (steps, train["lr"] * shares), "backbone": (steps, train["backbone_lr"] * shares)}


def stopped(steps: list[int], losses: list[float], patience: int, min_delta: float) -> dict[str, Any]:
    """The same of validations at `steps` that gave `losses`, without these two."""
    stop = stopping_point(losses, patience, min_delta)
    return {
        "patience": patience,
        "min_delta": min_delta,
        "best_step": steps[stop.best],
        "best": losses[stop.best],
        "stop_step": None if stop.index is None else steps[stop.index],
        "last_step": steps[-1],
        "last": losses[-1],
    }


def _about(folder: Path) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Configuration and recipe of a run, also of one of the core that is not done yet."""
    weights = folder / "weights.safetensors"
    recipe = recipe_of(weights) if weights.is_file() else None
    if (folder / "config.yaml").is_file():
        return yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8")), recipe
    config, begun = read_config(folder / "config.json")
    return of_training(config), recipe or begun


def _rows(folder: Path) -> Iterator[dict[str, float]]:
    """What the core logged (log.jsonl) or Lightning did (metrics.csv of every part), by Lightning's count of steps."""
    if (folder / "log.jsonl").is_file():
        for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines():
            values = json.loads(line)
            yield values | {"step": values["step"] - 1}  # the step that has just been made
        return
    logs = [*sorted(folder.glob("metrics.[0-9]*.csv")), folder / "metrics.csv"]
    if not logs[-1].is_file():
        raise ParameterError(f"{folder} is no folder of a run: it holds neither metrics.csv nor log.jsonl")
    for log in logs:
        with open(log, newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                yield {name: float(value) for name, value in row.items() if value}


def main(argv: list[str]) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m microloftr training-record", description=__doc__)
    parser.add_argument("folder", type=Path, help="a run's folder, as runs/micro")
    parser.add_argument("--name", default="training", help="name of the record")
    arguments = parser.parse_args(argv)
    values = curves(arguments.folder)
    config, recipe = _about(arguments.folder)
    if recipe is not None:
        values["recipe"] = recipe
    config["train"].pop("out", None)  # where things lay on somebody's disk is nobody's business
    config["data"]["folder"] = Path(config["data"].get("folder", "bundled")).name
    config["train"]["init"] = Path(config["train"]["init"]).name
    values["config"] = {group: config[group] for group in ("model", "data", "train")}
    command = values.get("recipe", {}).get("command", "python -m microloftr train")
    path = write_result(
        arguments.name,
        values,
        command=command,
        seed=config["train"]["seed"],
        split="train",
        device=values.get("recipe", {}).get("device", "cpu"),
    )
    print(f"{path.name}: {len(values['steps'])} points of the curve")
    return 0
