"""`python -m microloftr waterfall`: does refinement help? A naive LoFTR, and its causes of harm mended one by one.

The naive LoFTR is trained as a whole (naive_training.py). Then its backbone, transformer and coarse matching are frozen
and its fine stage is trained on by every recipe (naive.py), the naive one too, on the same pairs: all rows share their
coarse matches, and what differs is what was mended. Judged on pairs of the validation micrographs that are shifted
only, and on others that are turned and enlarged (waterfall_judge.py). Both trainings are kept and not repeated; the
first goes on from where it was stopped.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from microloftr.data.atlas import Atlas
from microloftr.data.fixed import split_atlas
from microloftr.errors import ParameterError
from microloftr.evaluation.cell_choices import FineStage, Schedule, train_stages
from microloftr.evaluation.naive import MENDS, fine_loss_of, recipes, stage_of
from microloftr.evaluation.naive_training import MIXTURE, naive_config, train_naive
from microloftr.evaluation.predict import predictions_folder
from microloftr.evaluation.waterfall_harm import harm
from microloftr.evaluation.waterfall_judge import PROBES, Row, by_matcher, compared, frozen, refined_rows
from microloftr.model.loftr import LoFTR
from microloftr.model.weights import load_model, shipped
from microloftr.results import write_result
from microloftr.training.packed import load_tensors, save_tensors

RECORD = "waterfall"
STEPS, FINE_STEPS, PAIRS = 470, 120, 54
COARSE, WHOLE = "coarse", "whole"
WORDS = {
    COARSE: "coarse only",
    WHOLE: "naive, all parts trained together",
    "naive": "naive, fine stage trained on",
    **{key: f"+ {words}" for key, words in MENDS.items()},
    "micro-coarse": "micro's network alone, coarse only",
    "micro": "micro's network alone",
    "matcher": "the Matcher: the pixels decide",
}
BEFORE = {"naive": WHOLE, "matcher": "micro"}  # every mend has the row before it


def trained_stages(
    model: LoFTR, atlas: Atlas, folder: Path, schedule: Schedule, progress: Callable[[Iterator], Iterator] = iter
) -> dict[str, FineStage]:
    """A fine stage for every recipe, trained on the frozen rest of `model`, and kept in `folder` once all are done."""
    made = {key: stage_of(model, recipe, schedule.seed) for key, recipe in recipes().items()}
    path = folder / f"stages-{schedule.steps}-{schedule.seed}.pt"
    if path.is_file():
        kept = load_tensors(path)
        for key, stage in made.items():
            stage.load_state_dict(kept[key])
        return {key: stage.eval() for key, stage in made.items()}
    losses = {key: fine_loss_of(recipe, schedule.weights) for key, recipe in recipes().items()}
    made = train_stages(model, made, atlas, schedule, progress, losses)
    folder.mkdir(parents=True, exist_ok=True)
    save_tensors({key: stage.state_dict() for key, stage in made.items()}, path)
    return made


def study(model: LoFTR, stages: dict[str, FineStage], atlas: Atlas, pairs: int) -> dict[str, Any]:
    """The record's values by probe: a row for the coarse cells, for the naive model, every mend, and for micro."""
    micro, probes = load_model(shipped("micro")), {}
    for probe, mixture in PROBES.items():
        seen = frozen(model, atlas, mixture, pairs)
        rows = refined_rows(seen, {COARSE: None, WHOLE: FineStage(model).eval(), **stages})
        own = frozen(micro, atlas, mixture, pairs)
        rows |= refined_rows(own, {"micro-coarse": None, "micro": FineStage(micro)})
        rows["matcher"] = by_matcher(own)
        probes[probe] = table(rows, atlas)
    return probes


def table(rows: dict[str, Row], atlas: Atlas) -> dict[str, Any]:
    """Every row's numbers, beside those of the row that it is compared with."""
    order = [key for key in WORDS if key in rows]
    mends = [key for key in order if key in MENDS]
    before = {**dict(zip(mends, ["naive", *mends], strict=False)), **BEFORE}
    coarse = dict.fromkeys((WHOLE, "naive", *mends), COARSE) | dict.fromkeys(("micro", "matcher"), "micro-coarse")
    told = compared({key: rows[key] for key in order}, before, coarse, [*atlas.specimens])
    return {key: {"words": WORDS[key], **values} for key, values in told.items()}


def main(argv: list[str]) -> int:
    """Command line."""
    parser = argparse.ArgumentParser("python -m microloftr waterfall", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--steps", type=int, default=STEPS, help=f"of the naive LoFTR, 16 pairs of 128×128 each ({STEPS})"
    )
    parser.add_argument(
        "--fine-steps", type=int, default=FINE_STEPS, help=f"of every fine stage, 8 pairs ({FINE_STEPS})"
    )
    parser.add_argument("--pairs", type=int, default=PAIRS, help=f"pairs of each probe ({PAIRS})")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=None, help="of the trainings (runs/waterfall)")
    parser.add_argument("--results", type=Path, default=None, help="folder of the record (results)")
    options = parser.parse_args(argv)
    if min(options.steps, options.fine_steps) < 1 or not 8 <= options.pairs <= 1000:
        raise ParameterError("--steps and --fine-steps must be at least 1, and --pairs from 8 to 1000.")
    folder = options.folder or predictions_folder().parent / RECORD
    learnt, held_out = split_atlas("train"), split_atlas("validation")
    model = train_naive(learnt, folder, options.steps, options.seed)
    schedule = replace(Schedule(), steps=options.fine_steps, seed=options.seed, precision="bf16")
    own = folder / f"{naive_config(options.steps, options.seed, 'xfeat').train.run}-{options.steps}"
    stages = trained_stages(
        model,
        learnt,
        own,
        schedule,
        lambda steps: tqdm(steps, total=schedule.steps, desc="fine stages", mininterval=10),
    )
    values = {
        "probes": study(model, stages, held_out, options.pairs),
        "harm": harm(load_model(shipped("micro")), held_out, options.pairs),
        "naive": {
            "steps": options.steps,
            "pairs": 16 * options.steps,
            "mixture": MIXTURE,
            "parameters": sum(p.numel() for p in model.parameters()),
        },
        "fine": {"steps": schedule.steps, "pairs": schedule.steps * schedule.pairs, "crop": schedule.crop},
        "pairs": options.pairs,
    }
    given = {"steps": STEPS, "fine_steps": FINE_STEPS, "pairs": PAIRS, "seed": 0}
    words = [
        f"--{name.replace('_', '-')} {value}"
        for name, value in vars(options).items()
        if given.get(name, value) != value
    ]
    command = " ".join(["python -m microloftr", RECORD, *words])
    path = write_result(RECORD, values, command=command, seed=options.seed, split="validation", folder=options.results)
    print(path)
    return 0
