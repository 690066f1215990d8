"""Whole trainings with no, linear and full attention at one small budget, judged by what the network alone says.

One more has the published layers and sines instead of rotary places: with its weights the slip of the released position
encoding can be switched on.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from microloftr.evaluation.ablation_judges import cell_sources, right_cells
from microloftr.evaluation.ablation_summary import stored
from microloftr.evaluation.ablation_variants import BUDGET, Variant, seeded, trained
from microloftr.evaluation.architecture_summary import compared_cells, compared_pairs
from microloftr.evaluation.identity import weights_sha256
from microloftr.evaluation.network_alone import Levels, Rule, by_level, judged, looked
from microloftr.matching import Matcher
from microloftr.model.loftr import LoFTR
from microloftr.model.weights import load_model, recipe_of

BATCH = 16  # pairs a step, of BUDGET
STEPS = 120  # 1,920 pairs, as in `python -m microloftr ablations`, whose base and no-attention are the same trainings
VARIANTS = (
    Variant("none", "no attention", ("model.layers=0",), weights="no-attention"),
    Variant("linear", "linear attention", ("model.attention=linear",), weights="linear-attention"),
    Variant("full", "full attention (micro)", weights="base"),
    Variant("sines", "published layers and sines", ("model.transformer=sine",)),
)
REFERENCE, SLIP = "full", "sines-slip"


def variants(seeds: Sequence[int]) -> list[Variant]:
    """Every variant for every seed, the seeds one after the other."""
    return [seeded(variant, seed) for seed in seeds for variant in VARIANTS]


def folder_of(folder: Path, variant: Variant, steps: int) -> Path:
    """Where a variant's training lies."""
    return folder / "attention" / f"{steps}_steps" / variant.run


def weights_of(folder: Path, variant: Variant, steps: int, train: bool) -> Path | None:
    """The weights of a variant, trained where they are not there; None where they are not and `train` is false."""
    place = folder_of(folder, variant, steps)
    if train:
        return trained(variant, steps, place)
    path = place / "weights.safetensors"
    return path if path.is_file() else None


def entry_of(variant: Variant, weights: Path, steps: int, levels: Levels) -> dict[str, dict[str, Any]]:
    """By key the entries of one training: its own and, of the sines, the same weights with the slip."""
    model = load_model(weights)
    told: dict[str, Any] = {
        "steps": steps,
        "trained_pairs": steps * BATCH,
        "seed": variant.seed,
        "overrides": list(variant.overrides),
        "words": variant.words,
        "trained_at": recipe_of(weights)["commit"],
        "weights_sha256": weights_sha256(Matcher(model, device="cpu")),
    }
    entries = {variant.key: told | numbers_of(model, levels)}
    if model.config.transformer == "sine":
        slipped = f"{SLIP}{variant.key.removeprefix('sines')}"
        told = told | {"words": f"{variant.words}, the released slip switched on"}
        entries[slipped] = told | numbers_of(with_slip(model), levels)
    return entries


def numbers_of(model: LoFTR, levels: Levels) -> dict[str, Any]:
    """Right cells of crops, and error, precision and matches of the network alone on `levels`, by level and pair.

    All mutual cells count: after so short a training hardly any is sure.
    """
    rule = Rule("every mutual cell", 0.0)
    rows = {level: [{"": judged(looked({"": model}, pair, rule)[""], rule, pair)} for pair in pairs]
            for level, pairs in levels.items()}  # fmt: skip
    return {"cells": stored(right_cells(model)), **by_level(rows)[""]}


def with_slip(model: LoFTR) -> LoFTR:
    """The same weights, their places told by the formula that the released weights were trained with."""
    slipped = LoFTR(replace(model.config, released_position=True))
    slipped.load_state_dict(model.state_dict())
    return slipped.eval()


def comparisons(entries: Iterable[str]) -> list[tuple[str, list[str]]]:
    """Which entries are compared with which: every kind with the full attention of its seed, the slip with the sines
    without it, full attention of other seeds with the first one's."""
    there = set(entries)
    kinds = [variant.key for variant in VARIANTS if variant.key != REFERENCE]
    ends = sorted({""} | {f"-seed-{key.rpartition('-seed-')[2]}" for key in there if "-seed-" in key})
    wanted = [(f"{REFERENCE}{end}", [f"{kind}{end}" for kind in kinds]) for end in ends]
    wanted += [(f"sines{end}", [f"{SLIP}{end}"]) for end in ends]
    wanted += [(REFERENCE, [f"{REFERENCE}{end}" for end in ends if end])]
    found = [(reference, [key for key in keys if key in there]) for reference, keys in wanted if reference in there]
    return [(reference, keys) for reference, keys in found if keys]


def with_rows(part: dict[str, Any], planned: Iterable[str]) -> dict[str, Any]:
    """The part with `rows` made anew by `comparisons`; `missing`: which planned trainings have no entry yet."""
    entries, rows = part["entries"], {}
    for reference, keys in comparisons(entries):
        chosen = {key: entries[key] for key in (reference, *keys)}
        pairs = compared_pairs(chosen, reference, part["sources"]["errors"])
        shares = {key: entry["cells"] for key, entry in chosen.items()}
        cells = compared_cells(shares, reference, part["sources"]["cells"])
        for key in chosen:
            words = {"words": entries[key]["words"], "against": entries[reference]["words"]}
            if key != reference or key not in rows:
                rows[key] = {**words, "seed": entries[key]["seed"], **pairs[key], **cells[key]}
    missing = [key for key in planned if key not in entries]
    return part | {"rows": rows, "missing": missing}


def empty(levels: Levels) -> dict[str, Any]:
    """The part before anything is trained."""
    sources = {"errors": [pair.source for pair in next(iter(levels.values()))], "cells": cell_sources()}
    return {"budget": list(BUDGET), "entries": {}, "rows": {}, "sources": sources, "missing": []}
