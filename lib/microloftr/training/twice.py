"""`python -m microloftr.training.twice [KEY=VALUE …]`: training's command twice, and whether the weights are equal.

Each run is a process of its own, of one thread, from the bundled micrographs to its weights; digests, steps and seconds
go to results/one_conv_twice.json.
"""

import argparse
import hashlib
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from microloftr.config.plain import of_training
from microloftr.config.schema import load_config
from microloftr.errors import MicroLoFTRError
from microloftr.model.weights import recipe_of
from microloftr.results import write_result

RUN = (  # a minute or two each
    "model=one_conv", "train=one_conv", "train.steps=150", "train.warmup=20", "train.decay=50",
    "train.validate_every=150", "train.device=cpu",
)  # fmt: skip


def twice(overrides: list[str], folder: Path) -> list[dict[str, Any]]:
    """Two runs from one seed and a third from the next: {"run", "seed", "sha256", "steps", "pairs", "seconds"} of each.

    Raises MicroLoFTRError where one fails.
    """
    seed, rows = load_config(overrides).train.seed, []
    for name, own in (("first", seed), ("again", seed), ("other", seed + 1)):
        line = [sys.executable, "-m", "microloftr", "train", "--quiet", *overrides, f"train.seed={own}"]
        line += [f"train.out={folder}", f"train.run={name}"]
        began = time.monotonic()
        done = subprocess.run(
            line, capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
        if done.returncode:
            raise MicroLoFTRError(f"the run {name!r} failed: {done.stderr.strip().splitlines()[-1]}")
        weights = folder / name / "weights.safetensors"
        recipe = recipe_of(weights)
        rows.append(
            {
                "run": name,
                "seed": own,
                "sha256": digest(weights),
                **{key: recipe[key] for key in ("steps", "pairs", "torch", "threads", "cpu")},
                "seconds": round(time.monotonic() - began, 1),
            }
        )
        print(f"{name}: seed {own}, {rows[-1]['sha256'][:16]}, {rows[-1]['seconds']} s", flush=True)
    return rows


def digest(weights: Path) -> str:
    """Of all weights in a file, whatever is told about them in its header."""
    found = hashlib.sha256()
    for name, tensor in sorted(load_file(weights).items()):
        found.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode() + tensor.numpy().tobytes())
    return found.hexdigest()


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m microloftr.training.twice", description=__doc__.splitlines()[0])
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help=f"beside {' '.join(RUN)}")
    arguments = parser.parse_args(argv)
    chosen = [*RUN, *arguments.overrides]
    config = load_config(chosen)
    with tempfile.TemporaryDirectory(prefix="microloftr_") as folder:
        rows = twice(chosen, Path(folder))
    digests = [row["sha256"] for row in rows]
    values = {
        "runs": rows,
        "equal": digests[0] == digests[1],
        "other_differs": digests[2] != digests[0],
        "trained": shlex.join(["python", "-m", "microloftr", "train", *chosen]),
        "config": of_training(config),
    }
    values["config"]["train"].pop("out")
    command = shlex.join(["python", "-m", "microloftr.training.twice", *arguments.overrides])
    path = write_result("one_conv_twice", values, command=command, seed=config.train.seed, split="train")
    print(f"{path.name}: {'equal' if values['equal'] else 'not equal'}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
