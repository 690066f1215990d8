"""`python -m microloftr architecture`: what attention, the fine stage and rules of matching are worth, in one table.

Three parts, each kept in results/architecture.json as soon as it is done; what is trained lies in a folder of its own
and goes on where it was stopped. fine: fine stages of other widths and readings on the frozen coarse part of shipped
weights. attention: whole trainings. switches: rules of matching, with shipped weights. times: of fine stages and of
attention. All are judged by the network alone: without search, and without pixels followed or aligned.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
from tqdm import tqdm

from microloftr.data.fixed import split_atlas
from microloftr.errors import MicroLoFTRError, ParameterError
from microloftr.evaluation import architecture_attention as attention
from microloftr.evaluation import architecture_fine as fine
from microloftr.evaluation.architecture_switches import encodings, filters, switched
from microloftr.evaluation.architecture_tables import architecture_table
from microloftr.evaluation.identity import weights_sha256
from microloftr.evaluation.network_alone import Levels, fixed_levels, most_pairs
from microloftr.evaluation.predict import predictions_folder
from microloftr.model.loftr import LoFTR
from microloftr.model.presets import PRESETS
from microloftr.model.weights import load_model, shipped
from microloftr.results import read_result, results_folder, write_result
from microloftr.views.architecture_figures import draw_architecture
from microloftr.views.figures import save_figure

RECORD = "architecture"
PARTS = ("fine", "attention", "switches", "times")


def runs_folder() -> Path:
    """Where the trainings lie: MICROLOFTR_RUNS, a folder that outlives the checkout, else runs/."""
    return Path(os.environ.get("MICROLOFTR_RUNS") or predictions_folder().parent) / RECORD


def held(results: Path | None) -> dict[str, Any]:
    """The values of the record so far."""
    try:
        return read_result(RECORD, results)["values"]
    except MicroLoFTRError:
        return {}


def keep(parts: dict[str, Any], results: Path | None) -> None:
    """Put parts into the record, beside those that it has: read again, for another part may be made meanwhile."""
    command = "python -m microloftr architecture"
    write_result(RECORD, held(results) | parts, command=command, seed=0, split="validation", folder=results)


def attend(levels: Levels, options: argparse.Namespace) -> None:
    """Train and judge the whole models one after the other; each is kept when it is done."""
    planned = attention.variants(options.seeds)
    part = held(options.results).get("attention")
    fitting = attention.empty(levels)
    if part is None or part["sources"] != fitting["sources"] or part["steps"] != options.attention_steps:
        part = fitting | {"steps": options.attention_steps}
    keep({"attention": attention.with_rows(part, [variant.key for variant in planned])}, options.results)
    for variant in planned:
        weights = attention.weights_of(options.folder, variant, options.attention_steps, not options.finished)
        if weights is None or (variant.key in part["entries"] and not options.again):
            continue
        part["entries"] |= attention.entry_of(variant, weights, options.attention_steps, levels)
        part = attention.with_rows(part, [variant.key for variant in planned])
        keep({"attention": part}, options.results)


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    options = _options(argv)
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # threads for images this small wait for each other
    try:
        _work(options)
    finally:
        cv2.setNumThreads(threads)
    values = held(options.results)
    print(architecture_table({"values": values}))
    figure = draw_architecture(values)
    if figure is not None:
        folder = options.results or results_folder().parent / "docs_obsidian" / "attachments"
        save_figure(figure, folder / f"{RECORD}.png")
    return 0


def _work(options: argparse.Namespace) -> None:
    if "times" in options.only:
        keep({"times": fine.times(PRESETS["micro"])}, options.results)
    if set(options.only) == {"times"}:
        return
    model, levels = _shipped(options.weights), fixed_levels(options.pairs)
    told = {"weights": {"name": options.weights, "weights_sha256": weights_sha256(SimpleNamespace(model=model))}}
    if "switches" in options.only:
        part = switched(model, levels, _shown) | {"filters": filters(), "encodings": encodings()}
        keep({"switches": part | told}, options.results)
    if "fine" in options.only:
        atlases = split_atlas("train"), split_atlas("validation")
        chosen = options.fine_steps, options.seeds, options.folder
        part = fine.study(model, atlases, levels, *chosen, not options.finished, _shown)
        keep({"fine": part | told}, options.results)
    if "attention" in options.only:
        attend(levels, options)


def _shipped(name: str) -> LoFTR:
    return load_model(name if name.endswith(".safetensors") else shipped(name))


def _shown(items: Sequence[Any]) -> Any:
    return tqdm(items, leave=False, disable=None)


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m microloftr architecture", description=__doc__.splitlines()[0])
    parser.add_argument("--only", default=",".join(PARTS), metavar="PART,…", help=f"some of {', '.join(PARTS)}")
    parser.add_argument("--fine-steps", type=int, default=fine.STEPS, help=f"of 16 pairs each ({fine.STEPS})")
    steps = attention.STEPS
    parser.add_argument("--attention-steps", type=int, default=steps, help=f"likewise ({steps}; 938: 15,000 pairs)")
    parser.add_argument("--seeds", default="0", metavar="N,…", help="of every training (0)")
    parser.add_argument("--pairs", type=int, default=None, help="fixed pairs of each level (every micrograph once)")
    parser.add_argument("--weights", default="micro", help="whose coarse part is frozen: a name or a .safetensors file")
    parser.add_argument("--finished", action="store_true", help="judge what is trained as far as it is; train nothing")
    parser.add_argument("--again", action="store_true", help="judge anew what the record holds already")
    parser.add_argument("--folder", type=Path, default=None, help="of the trainings (runs/architecture)")
    parser.add_argument("--results", type=Path, default=None, help="folder of the record (results)")
    options = parser.parse_args(argv)
    options.only = options.only.split(",")
    if unknown := [name for name in options.only if name not in PARTS]:
        raise ParameterError(f"There is no part {unknown[0]!r}; there are {', '.join(PARTS)}.")
    if not all(seed.isdecimal() for seed in options.seeds.split(",")):
        raise ParameterError(f"Seeds are whole numbers separated by commas, not {options.seeds!r}.")
    options.seeds = tuple(int(seed) for seed in options.seeds.split(","))
    options.pairs = most_pairs() if options.pairs is None else options.pairs
    if min(options.fine_steps, options.attention_steps) < 1 or options.pairs < 2:
        raise ParameterError("Steps must be 1 or more, and pairs 2 or more.")
    options.folder = options.folder or runs_folder()
    return options
