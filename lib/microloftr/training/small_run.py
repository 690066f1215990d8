"""A small run that is looked at while it goes: the core's steps without its checkpoints, for records and notebooks."""

import csv
import io
from collections.abc import Callable, Iterable
from importlib.resources import files
from pathlib import Path

import torch

from microloftr.data.pairs import PairBatch
from microloftr.files import write_text
from microloftr.training.stepper import Stepper


def small_run(
    stepper: Stepper, batches: Iterable[PairBatch], every: int, look: Callable[[Stepper], None]
) -> list[dict[str, float]]:
    """Train over `batches` and return the parts of the loss of every step.

    `look` is called before the first step, after every `every` steps and after the last one; what it does must not
    change the model (see `diagnostics.dynamics.observe` and `validation.validate`).
    """
    look(stepper)
    looked, parts = stepper.step, []
    for batch in batches:
        result = stepper.forward(batch)
        stepper.backward(result)
        stepper.descend()
        parts.append(result.parts)
        if stepper.step % every == 0:
            look(stepper)
            looked = stepper.step
    if stepper.step != looked:
        look(stepper)
    return [dict(zip(row, torch.stack(list(row.values())).tolist(), strict=True)) for row in parts]


def means(parts: list[dict[str, float]], every: int) -> dict[str, list[float]]:
    """Means over `every` steps: {"steps": the last step of each, "loss": […], …}; a last, shorter one counts too."""
    blocks = [parts[first : first + every] for first in range(0, len(parts), every)]
    ends = [min((k + 1) * every, len(parts)) for k in range(len(blocks))]
    names = parts[0] if parts else ()
    return {"steps": ends, **{n: [round(sum(p[n] for p in block) / len(block), 4) for block in blocks] for n in names}}


def few_micrographs(folder: Path, learnt: int = 8, held_out: int = 3) -> Path:
    """A folder with some of the bundled micrographs, evenly chosen, and their manifest: `data.folder` of a small run.

    Reading all of them takes longer than a small run. No specimen is on both sides.
    """
    source = files("microloftr.micrographs")
    rows = list(csv.DictReader(io.StringIO(source.joinpath("manifest.csv").read_text(encoding="utf-8"))))
    chosen = []
    for split, count in (("train", learnt), ("validation", held_out)):
        there = [row for row in rows if row["split"] == split]
        chosen += [there[(2 * k + 1) * len(there) // (2 * count)] for k in range(count)]
    folder.mkdir(parents=True, exist_ok=True)
    for row in chosen:
        (folder / row["file"]).write_bytes(source.joinpath(row["file"]).read_bytes())
    lines = io.StringIO()
    writer = csv.DictWriter(lines, list(rows[0]))
    writer.writeheader()
    writer.writerows(chosen)
    write_text(folder / "manifest.csv", lines.getvalue())
    return folder
