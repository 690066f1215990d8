"""`python -m microloftr training-dynamics [KEY=VALUE …]`: a small run, its predictions kept as it goes.

Writes results/dynamics.json, from which notebook 08 draws, and an animation for the vault.
"""

import argparse
import shlex
from pathlib import Path

import numpy as np

from microloftr.config.plain import of_training
from microloftr.config.schema import load_config
from microloftr.data.atlas import Atlas
from microloftr.data.pairs import PairBatch, make_pairs
from microloftr.device import choose_device
from microloftr.results import results_folder, write_result
from microloftr.training.diagnostics.dynamics import observe, packed
from microloftr.training.feed import Feed
from microloftr.training.small_run import means, small_run
from microloftr.training.start import atlases_of, starting_model
from microloftr.training.stepper import Stepper
from microloftr.training.validation import VALIDATION_SEED
from microloftr.views.dynamics_figures import frame, save_animation

RUN = (  # a quarter of an hour of one CPU core
    "train.init=xfeat", "data.mixture=medium", "data.crop=128", "data.batch=8",
    "train.steps=250", "train.warmup=25", "train.decay=80", "train.average=0.95",
)  # fmt: skip
LEVEL = "medium"
ATTACHMENT = Path("docs_obsidian/attachments/training_dynamics.webp")


def fixed_batch(atlas: Atlas, count: int, crop: int, level: str = LEVEL) -> PairBatch:
    """`count` pairs of a level, always the same, of micrographs spread evenly over an atlas."""
    indices = ((2 * np.arange(count) + 1) * len(atlas)) // (2 * count)
    return make_pairs(atlas, level, VALIDATION_SEED, indices, crop)


def main(argv: list[str]) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m microloftr training-dynamics", description=__doc__.splitlines()[0])
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help=f"beside {' '.join(RUN)}")
    parser.add_argument("--every", type=int, default=25, help="steps between two looks")
    parser.add_argument("--pairs", type=int, default=3, help="fixed pairs looked at")
    parser.add_argument("--animation", type=Path, default=results_folder().parent / ATTACHMENT, metavar="FILE.webp")
    arguments = parser.parse_args(argv)
    config = load_config([*RUN, *arguments.overrides])
    device = choose_device(config.train.device)
    learnt, held_out = atlases_of(config, device)
    batch = fixed_batch(held_out, arguments.pairs, config.data.crop)
    stepper, seen = Stepper(starting_model(config), config, device), []

    def look(stepper: Stepper) -> None:
        seen.append(observe(stepper.model, batch, stepper.step))
        numbers = seen[-1].numbers()
        print(f"step {stepper.step}: {numbers['accuracy']:.0%} right, {numbers['error']:.1f} px", flush=True)

    feed = Feed(learnt, config, 0, config.train.steps)
    parts = small_run(stepper, feed, arguments.every, look)
    values = {
        "frames": [packed(dynamics) for dynamics in seen],
        "training": means(parts, arguments.every),
        "pairs": {"level": LEVEL, "micrographs": [held_out.names[m] for m in batch.micrograph.tolist()]},
        "config": of_training(config),
    }
    values["config"]["train"].pop("out")
    command = shlex.join(["python", "-m", "microloftr", "training-dynamics", *argv])
    path = write_result(
        "dynamics", values, command=command, seed=config.train.seed, device=str(device), split="validation"
    )
    pictures = (batch.images_0.cpu(), batch.images_1.cpu())
    save_animation([frame(dynamics, *pictures, pairs=arguments.pairs) for dynamics in seen], arguments.animation)
    print(f"{path.name}: {len(seen)} moments of {arguments.pairs} pairs; {arguments.animation.name}")
    return 0
