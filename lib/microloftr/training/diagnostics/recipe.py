"""`python -m microloftr recipe`: what each rule of the training recipe is worth here, as results/recipe.json.

Short trainings of `one_conv` that differ in one thing, the same batches for all; `micro` and `one_conv` on one batch
until every prediction is right; the initial loss of every preset; and of `micro` what `recipe_micro.py` measures. About
ten minutes of one core. `made` says of every part by which commit, and on which day.
"""

import argparse
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch

from microloftr.config.plain import TrainConfig
from microloftr.data.fixed import split_atlas
from microloftr.data.pairs import PairBatch, make_pairs
from microloftr.errors import MicroLoFTRError, ParameterError
from microloftr.model.presets import PRESETS
from microloftr.model.weights import random_model
from microloftr.results import commit, read_result, write_result
from microloftr.training.diagnostics.brief import fresh, shuffled, train_briefly, zeros
from microloftr.training.diagnostics.initial_loss import (
    CoarseLoss,
    best_bias,
    clamped_loss,
    derived_coarse,
    derived_matchability,
    initial_loss,
)
from microloftr.training.diagnostics.overfit import FINE_GOAL, overfit
from microloftr.training.diagnostics.recipe_micro import blind, curve_of, kept, large, moving
from microloftr.training.losses import coarse_loss

LEVEL, CROP, BATCH, HELD, EVERY = "medium", 128, 4, 8, 20
SIZES = {"micro": (96, 192, 320), "one_conv": (96, 192, 320), "loftr": (96, 128)}
OVERFIT = {"micro": (500, 1.5e-3), "one_conv": (150, 3e-3)}  # most steps, learning rate


@dataclass(frozen=True)
class Variant:
    """One thing done otherwise than the recipe says."""

    scale: float | None = None
    bias: float | str | None = None
    loss: CoarseLoss = coarse_loss
    change: Callable[[PairBatch], PairBatch] = lambda batch: batch


def variants(cells: int) -> dict[str, Variant]:
    """Name → variant; `heeded` is training as it is. `rare`: the bias of one match among `cells`, −ln(cells − 1)."""
    return {
        "heeded": Variant(),
        "no_temperature": Variant(scale=1.0),
        "cold": Variant(scale=100.0),
        "default_bias": Variant(bias="default"),
        "rare_bias": Variant(bias=-float(np.log(cells - 1))),
        "clamped": Variant(loss=clamped_loss),
        "not_heeded": Variant(scale=1.0, bias="default", loss=clamped_loss),
        "zeros": Variant(change=zeros),
        "shuffled": Variant(change=shuffled),
    }


def compare(steps: int, seed: int, names: Sequence[str], tell: Callable[[str], None]) -> dict[str, Any]:
    """Variants trained for `steps` steps; zeros and shuffled are judged on held-out pairs of their own kind."""
    train = TrainConfig(steps=steps, lr=1e-3, backbone_lr=1e-3, warmup=20, decay=1, precision="32")
    batches = [
        make_pairs(split_atlas("train"), LEVEL, seed, np.arange(k * BATCH, (k + 1) * BATCH), CROP) for k in range(steps)
    ]
    held = make_pairs(split_atlas("validation"), LEVEL, seed + 1, np.arange(HELD), CROP)
    curves: dict[str, Any] = {}
    for name in names:
        variant = variants((CROP // 8) ** 2)[name]
        model = fresh(PRESETS["one_conv"], seed, variant.scale, variant.bias)
        judged = variant.change(held)
        curve = train_briefly(model, batches, judged, train, EVERY, variant.loss, variant.change)
        curves[name] = _rounded(kept(curve))
        tell(f"{name}: {curve.total[0]:.2f} → {curve.total[-1]:.2f} nats")
    return curves


def derived(crop: int) -> dict[str, float]:
    """What a model that knows nothing pays at crops of a side: at the start, and at its best bias."""
    cells = (crop // 8) ** 2
    return _rounded(
        {
            "start": derived_coarse(cells, cells, 1.0) + derived_matchability(1.0),
            "knowing_nothing": derived_coarse(cells, cells, best_bias()) + derived_matchability(best_bias()),
            "best_bias": best_bias(),
        }
    )


def saved(curves: dict[str, Any]) -> dict[str, float | None]:
    """The step at which the heeded curve is down to where each other one ends; None where it never is."""
    if "heeded" not in curves:
        return {}
    heeded = curve_of(curves["heeded"])
    return {name: _rounded(heeded.steps_to(curve["total"][-1])) for name, curve in curves.items() if name != "heeded"}


def starts(seed: int, tell: Callable[[str], None]) -> list[dict[str, Any]]:
    """The initial loss of every preset at several image sizes, with the logarithm and with the clamp."""
    rows = []
    for preset, sizes in SIZES.items():
        for size in sizes:
            batch = make_pairs(split_atlas("validation"), LEVEL, seed, np.arange(2), size)
            for training in (False, True) if preset == "loftr" else (False,):
                model = random_model(preset, seed).train(training)
                found = initial_loss(model, batch)
                row = {"preset": preset, "size": size, "training": training}
                rows.append(row | _rounded(asdict(found)))
        tell(f"{preset}: starts looked at")
    return rows


def by_heart(seed: int, tell: Callable[[str], None]) -> dict[str, Any]:
    """`micro` and `one_conv`, from random weights, on one batch of two small pairs."""
    batch = make_pairs(split_atlas("validation"), "easy", seed, np.arange(2), 96)
    found = {}
    for preset, (steps, rate) in OVERFIT.items():
        model = fresh(PRESETS[preset], seed)
        train = TrainConfig(steps=steps, lr=rate, backbone_lr=rate, warmup=10, decay=steps, weight_decay=0.0)
        result = overfit(model, batch, train)
        last = result.looks[-1]
        tell(f"{preset}: {last.right:.0%} of {result.cells} cells after {last.step} steps, fine {last.fine} px")
        columns = {name: [getattr(look, name) for look in result.looks] for name in asdict(last)}
        found[preset] = {"cells": result.cells, "holds": result.holds(), "goal": FINE_GOAL, **_rounded(columns)}
    return found


def main(argv: list[str]) -> int:
    """Command line."""
    parts = {
        "overfit": lambda: by_heart(arguments.seed, _tell),
        "starts": lambda: starts(arguments.seed, _tell),
        "large": lambda: _rounded(large(split_atlas, arguments.seed, _tell)),
        "blind": lambda: _rounded(blind(split_atlas, arguments.seed, _tell)),
        "moving": lambda: moving(split_atlas, arguments.seed, _tell),
    }
    parser = argparse.ArgumentParser(prog="python -m microloftr recipe", description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=200, help="steps of each short training")
    parser.add_argument("--seed", type=int, default=0)
    names = (*parts, *variants(2))
    parser.add_argument("--only", default=",".join(names), help=f"these alone, the rest stays: {', '.join(names)}")
    arguments = parser.parse_args(argv)
    chosen = arguments.only.split(",")
    if unknown := sorted(set(chosen) - set(names)):
        raise ParameterError(f"--only has {unknown[0]!r}; choose among {', '.join(names)}")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the same sums on every machine
    try:
        found = {name: part() for name, part in parts.items() if name in chosen}
        trained = [name for name in chosen if name not in parts]
        curves = compare(arguments.steps, arguments.seed, trained, _tell) if trained else {}
    finally:
        torch.set_num_threads(threads)
    setting = {"level": LEVEL, "crop": CROP, "batch": BATCH, "held": HELD, "steps": arguments.steps}
    before = _before(setting, arguments.seed) if len(chosen) < len(names) else {}
    curves = before.get("curves", {}) | curves
    stamp = {"commit": commit(), "date": datetime.now(UTC).date().isoformat()}
    made = before.get("made", {}) | dict.fromkeys(chosen, stamp)
    values = {**before, **found, "setting": setting, "derived": derived(CROP), "curves": curves}
    values |= {"saved": saved(curves), "made": {name: made[name] for name in names if name in made}}
    told = ["--steps", str(arguments.steps), "--seed", str(arguments.seed)]  # all parts were made so, whatever --only
    command = shlex.join(["python", "-m", "microloftr", "recipe", *told])
    path = write_result("recipe", values, command=command, seed=arguments.seed, split="train, judged on validation")
    print(f"written: {path.name}")
    return 0


def _before(setting: dict[str, Any], seed: int) -> dict[str, Any]:
    """The values of the record that is there, where it was made with the same setting; every part with its `made`."""
    try:
        record = read_result("recipe")
    except MicroLoFTRError:
        return {}
    values = record["values"]
    if record["seed"] != seed or values["setting"] != setting:
        return {}
    whole = {"commit": record["commit"], "date": record["date"]}  # of a record from before parts had their own
    there = [*values["curves"], *(name for name in ("overfit", "starts") if name in values)]
    return values | {"made": dict.fromkeys(there, whole) | values.get("made", {})}


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _rounded(value: Any) -> Any:
    """Four decimals; more depend on the machine."""
    if isinstance(value, dict):
        return {name: _rounded(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(part) for part in value]
    return round(value, 4) if isinstance(value, float) else value
