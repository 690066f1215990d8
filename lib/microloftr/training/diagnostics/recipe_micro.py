"""What the recipe is worth for `micro` itself: large crops, images of zeros, and how far each step moves its parts.

Parts of results/recipe.json, beside the short trainings of `one_conv` (`recipe.py`).
"""

from collections.abc import Callable
from dataclasses import asdict, fields
from typing import Any

import numpy as np
import torch

from microloftr.config.plain import Config, TrainConfig
from microloftr.data.atlas import Atlas
from microloftr.data.pairs import PairBatch, make_pairs
from microloftr.model.presets import PRESETS
from microloftr.training.diagnostics.brief import Curve, fresh, train_briefly, zeros
from microloftr.training.diagnostics.initial_loss import (
    best_bias,
    clamped_loss,
    dead_share,
    derived_coarse,
    derived_matchability,
)
from microloftr.training.diagnostics.stages import stages
from microloftr.training.diagnostics.updates import BAND, SETTLED, outside, ratios_through
from microloftr.training.losses import coarse_loss
from microloftr.training.stepper import Stepper

LEVEL = "medium"
LARGE = {"crop": 320, "batch": 2, "held": 2, "steps": 30, "every": 5}  # 1,600 cells: most of them below the clamp
BLIND = {"crop": 96, "batch": 4, "held": 8, "steps": 40, "every": 10}
MOVING = {"crop": 96, "batch": 4, "steps": 60, "every": 5}
Atlases = Callable[[str], Atlas]


def large(atlases: Atlases, seed: int, tell: Callable[[str], None]) -> dict[str, Any]:
    """`micro` on large crops as trained, and with the clamp and torch's default head: curves on held-out pairs.

    Both have the same weights but for the head, and see the same batches. {"setting", "knowing_nothing": what a model
    that knows nothing pays at its best, "dead": share of the true cells without a slope before the first step,
    "curves", "saved": the step at which the heeded curve is down to where the other one ends, None for never}.
    """
    shown, held = _pairs(atlases, seed, **LARGE)
    curves, slopeless = {}, {}
    for name, bias, loss in (("heeded", None, coarse_loss), ("not_heeded", "default", clamped_loss)):
        model = fresh(PRESETS["micro"], seed, bias=bias)
        with torch.no_grad():
            seen = stages(model, held)
        slopeless[name] = dead_share(seen.scores.log_confidence, seen.truth.cells_1, loss)
        curves[name] = train_briefly(model, shown, held, _setting(LARGE["steps"]), LARGE["every"], loss)
        tell(f"micro, {LARGE['crop']} px, {name}: {curves[name].total[0]:.2f} → {curves[name].total[-1]:.2f} nats")
    reached = curves["heeded"].steps_to(curves["not_heeded"].total[-1])
    return {
        "setting": LARGE | {"level": LEVEL},
        "knowing_nothing": knowing_nothing(LARGE["crop"]),
        "dead": slopeless,
        "curves": {name: kept(curve) for name, curve in curves.items()},
        "saved": reached,
    }


def blind(atlases: Atlases, seed: int, tell: Callable[[str], None]) -> dict[str, Any]:
    """`micro` on real images and on zeros: what its encoding of places and the padding at the rim tell on their own."""
    shown, held = _pairs(atlases, seed, **BLIND)
    curves = {}
    for name, change in {"real": lambda batch: batch, "zeros": zeros}.items():
        model = fresh(PRESETS["micro"], seed)
        every, setting = BLIND["every"], _setting(BLIND["steps"])
        curves[name] = train_briefly(model, shown, change(held), setting, every, change=change)
        tell(f"micro, {name}: {curves[name].total[0]:.2f} → {curves[name].total[-1]:.2f} nats")
    return {
        "setting": BLIND | {"level": LEVEL},
        "knowing_nothing": knowing_nothing(BLIND["crop"]),
        "curves": {name: kept(curve) for name, curve in curves.items()},
    }


def moving(atlases: Atlases, seed: int, tell: Callable[[str], None]) -> dict[str, Any]:
    """Update against weight by part of `micro`, from random weights at the rates of training, warmed up in 10 steps."""
    shown, _ = _pairs(atlases, seed, **MOVING)
    train = TrainConfig(steps=MOVING["steps"], warmup=10, decay=1, precision="32", seed=seed)
    stepper = Stepper(fresh(PRESETS["micro"], seed), Config(model=PRESETS["micro"], train=train), torch.device("cpu"))
    ratios = ratios_through(stepper, shown, MOVING["every"])
    parts = {part: [float(f"{looked[part]:.3g}") for looked in ratios.values()] for part in next(iter(ratios.values()))}
    tell("update / weight: " + ", ".join(f"{part} {values[-1]:.1e}" for part, values in parts.items()))
    return {
        "setting": MOVING | {"level": LEVEL, "lr": train.lr, "backbone_lr": train.backbone_lr},
        "steps": list(ratios),
        "ratios": parts,
        "band": list(BAND),
        "settled": SETTLED,
        "outside": list(outside(ratios)),
    }


def knowing_nothing(crop: int) -> float:
    """Coarse loss and matchability of a model that knows nothing, at its best bias, for crops of a side."""
    cells = (-(-crop // 8)) ** 2
    return derived_coarse(cells, cells, best_bias()) + derived_matchability(best_bias())


def kept(curve: Curve) -> dict[str, Any]:
    """A curve with its total, as a record keeps it."""
    return {**asdict(curve), "total": curve.total}


def curve_of(values: dict[str, Any]) -> Curve:
    """The curve that a record keeps."""
    return Curve(**{field.name: values[field.name] for field in fields(Curve)})


def _setting(steps: int) -> TrainConfig:
    return TrainConfig(steps=steps, lr=1e-3, backbone_lr=1e-3, warmup=10, decay=1, precision="32")


def _pairs(
    atlases: Atlases, seed: int, crop: int, batch: int, steps: int, held: int = 1, **_: Any
) -> tuple[list[PairBatch], PairBatch]:
    """What is trained on, step by step, and what is judged."""
    shown = [
        make_pairs(atlases("train"), LEVEL, seed, np.arange(k * batch, (k + 1) * batch), crop) for k in range(steps)
    ]
    return shown, make_pairs(atlases("validation"), LEVEL, seed + 1, np.arange(held), crop)
