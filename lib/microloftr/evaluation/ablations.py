"""`python -m microloftr ablations`: what each ingredient of training and each part of matching is worth.

Variants are trained one after the other at one small budget (ablation_variants.py), judged (ablation_judges.py) and
kept in results/ablations.json as soon as each is done: the same command goes on where it was stopped.
`--only inference` takes the shipped weights and switches parts of matching off (ablation_switches.py). Trainings of
another length (`--steps`) have a record of their own, results/ablations_STEPS.json.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2

from microloftr.errors import MicroLoFTRError, ParameterError
from microloftr.evaluation.ablation_judges import Levels, cell_sources, right_cells, validation_pairs
from microloftr.evaluation.ablation_summary import compared, over_seeds, stored
from microloftr.evaluation.ablation_switches import SWITCHES, errors_of, switched
from microloftr.evaluation.ablation_tables import inference_table, trained_table
from microloftr.evaluation.ablation_variants import BUDGET, STEPS, VARIANTS, Variant, chosen, overrides_of, trained
from microloftr.evaluation.identity import weights_sha256
from microloftr.evaluation.predict import predictions_folder
from microloftr.matching import Matcher
from microloftr.model.weights import load_model, recipe_of, shipped
from microloftr.results import commit, read_result, results_folder, write_result
from microloftr.views.ablation_figures import draw_ablations
from microloftr.views.figures import save_figure

RECORD, INFERENCE = "ablations", "inference"
PAIRS = 14  # fixed pairs of every level: every second micrograph


def train_and_judge(variant: Variant, steps: int, levels: Levels | None, folder: Path) -> dict[str, Any]:
    """The entry of a variant: settings, its right cells by level and, with `levels`, the Matcher's errors on them."""
    weights = trained(variant, steps, folder / f"{steps}_steps" / variant.run)
    model = load_model(weights)
    errors = {"errors": stored(errors_of(model, levels, variant.turns))} if levels is not None else {}
    return {
        **settings(variant, steps),
        "words": variant.words,
        "trained_at": recipe_of(weights)["commit"],
        "judged_at": commit(),
        "weights_sha256": weights_sha256(Matcher(model, device="cpu")),
        "cells": stored(right_cells(model, variant.turns)),
        **errors,
    }


def settings(variant: Variant, steps: int) -> dict[str, Any]:
    """What decides whether an entry is of this variant."""
    steps = steps if variant.learns else 0
    return {"steps": steps, "overrides": list(variant.overrides), "seed": variant.seed, "turns": variant.turns}


def switch_off(weights: str, levels: Levels) -> dict[str, Any]:
    """The entries of all switches with weights by name or file."""
    model = load_model(weights if weights.endswith(".safetensors") else shipped(weights))
    told = {"weights_sha256": weights_sha256(Matcher(model, device="cpu")), "judged_at": commit()}
    entries = {key: {**told, "errors": stored(errors)} for key, errors in switched(model, levels).items()}
    entries["whole"]["cells"] = stored(right_cells(model))  # to compare with what the trained variants have
    return entries


def with_rows(values: dict[str, Any]) -> dict[str, Any]:
    """The values with `rows` made anew from the entries, in the order in which variants and switches are listed."""
    trained_part, inference = values["trained"], values["inference"]
    entries = trained_part["entries"]
    order = [variant.key for variant in VARIANTS]
    keys = sorted(entries, key=lambda key: (entries[key]["seed"] != 0, order.index(key.split("-seed-")[0])))
    rows = {}
    comparable = (0, entries["base"]["steps"]) if "base" in entries else ()
    for key in (key for key in keys if entries[key]["steps"] in comparable):
        seed = entries[key]["seed"]
        same = "base" if key.startswith("base") or f"base-seed-{seed}" not in entries else f"base-seed-{seed}"
        words = {"words": entries[key]["words"], "against": f"trained, against {entries[same]['words']}"}
        rows[key] = {**words, **compared(entries[key], entries[same], trained_part["sources"])}
    trained_part["rows"] = rows
    trained_part["over_seeds"] = over_seeds(rows)
    entries = inference["entries"]
    inference["rows"] = {
        key: {"words": told.words, "against": f"against {SWITCHES[told.against].words}"}
        | compared(entries[key], entries[told.against], inference["sources"])
        for key, told in SWITCHES.items()
        if key in entries and told.against in entries
    }
    return values


def record_of(steps: int) -> str:
    """The name of the record of trainings of so many steps."""
    return RECORD if steps == STEPS else f"{RECORD}_{steps}"


def begun(record: str, results: Path | None, pairs: int) -> dict[str, Any]:
    """The values of the record as far as it is of the same pairs; empty ones where there is none."""
    values: dict[str, Any] = {"budget": list(BUDGET), "pairs": pairs}
    values |= {part: {"entries": {}, "rows": {}, "sources": {}} for part in ("trained", "inference")}
    try:
        found = read_result(record, results)["values"]
    except MicroLoFTRError:
        return values
    return found if found["pairs"] == pairs and found["budget"] == values["budget"] else values


def ablate(names: Sequence[str], seeds: tuple[int, ...] | None, options: argparse.Namespace) -> dict[str, Any]:
    """Train, judge and switch what `names` says and is not there yet; the record is written after each."""
    levels, record = validation_pairs(options.pairs), record_of(options.steps)
    judges = None if options.cells else levels

    def keep(part: str, entries: dict[str, Any]) -> None:
        values = begun(record, options.results, options.pairs)  # read again: another part may be made beside this one
        values[part]["entries"] |= entries
        values[part]["sources"] = {"errors": [pair.source for pair in next(iter(levels.values()))]}
        values[part]["sources"] |= {"cells": cell_sources()} if part == "trained" else {}
        command = f"python -m microloftr ablations --steps {options.steps} --pairs {options.pairs}"
        write_result(record, with_rows(values), command=command, seed=0, split="validation", folder=options.results)

    there = begun(record, options.results, options.pairs)["trained"]["entries"]
    for variant in chosen([name for name in names if name != INFERENCE], seeds):
        wanted = settings(variant, options.steps)
        if not options.again and {key: there.get(variant.key, {}).get(key) for key in wanted} == wanted:
            continue
        print(f"{variant.key}: {' '.join(overrides_of(variant, options.steps))}", flush=True)
        keep("trained", {variant.key: train_and_judge(variant, options.steps, judges, options.folder)})
    if INFERENCE in names:
        keep("inference", switch_off(options.weights, levels))
    return begun(record, options.results, options.pairs)


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser("python -m microloftr ablations", description=__doc__.splitlines()[0])
    known = [variant.key for variant in VARIANTS]
    parser.add_argument("--only", default=None, metavar="NAME,…", help=f"some of {', '.join(known)}, {INFERENCE}")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"of each training, 16 pairs a step ({STEPS})")
    parser.add_argument("--seeds", default=None, metavar="N,…", help="of each variant (0; the base has 0,1)")
    parser.add_argument("--pairs", type=int, default=PAIRS, help=f"fixed pairs of each level ({PAIRS})")
    parser.add_argument("--weights", default="micro", help=f"of {INFERENCE}: a name or a .safetensors file (micro)")
    parser.add_argument("--cells", action="store_true", help="judge what is trained by the network's right cells alone")
    parser.add_argument("--again", action="store_true", help="judge anew what the record holds already")
    parser.add_argument("--folder", type=Path, default=None, help="of the trainings (runs/ablations)")
    parser.add_argument("--results", type=Path, default=None, help="folder of the record (results)")
    options = parser.parse_args(argv)
    names = options.only.split(",") if options.only else [*known, INFERENCE]
    options.folder = options.folder or predictions_folder().parent / "ablations"
    if min(options.steps, options.pairs) < 1:
        raise ParameterError("Steps and pairs must be 1 or more.")
    chosen([name for name in names if name != INFERENCE])  # (a wrong name is told before anything begins)
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # threads for images this small wait for each other
    try:
        values = ablate(names, _seeds(options.seeds), options)
    finally:
        cv2.setNumThreads(threads)
    print(trained_table({"values": values}), inference_table({"values": values}), sep="\n\n")
    figure = draw_ablations(values)
    if figure is not None:
        shown = results_folder().parent / "docs_obsidian" / "attachments" if options.steps == STEPS else options.folder
        folder = options.results or shown
        save_figure(figure, folder / f"{record_of(options.steps)}.png")
    return 0


def _seeds(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    if not all(part.isdecimal() for part in text.split(",")):
        raise ParameterError(f"Seeds are whole numbers separated by commas, not {text!r}.")
    return tuple(int(part) for part in text.split(","))
