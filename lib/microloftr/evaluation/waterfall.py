"""`python -m microloftr waterfall`: does refinement help? A naive LoFTR, and its causes of harm mended one by one.

The naive LoFTR is trained as a whole (naive_training.py). Then its backbone, transformer and coarse matching are frozen
and its fine stage is trained on by every recipe (naive.py), the naive one too, on the same pairs: all rows share their
coarse matches, and what differs is what was mended. Judged on pairs of the validation micrographs that are shifted
only, and on others that are turned and enlarged (waterfall_judge.py). Both trainings are kept and not repeated; the
first goes on from where it was stopped.
"""

import argparse
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from tqdm import tqdm

from microloftr.data.atlas import Atlas
from microloftr.data.fixed import split_atlas
from microloftr.errors import ParameterError
from microloftr.evaluation.cell_choices import FineStage, Schedule, train_stages
from microloftr.evaluation.identity import weights_sha256
from microloftr.evaluation.naive import MENDS, Recipe, fine_loss_of, recipes, stage_of
from microloftr.evaluation.naive_training import MIXTURE, naive_config, train_naive
from microloftr.evaluation.predict import predictions_folder
from microloftr.evaluation.waterfall_harm import harm
from microloftr.evaluation.waterfall_judge import PROBES, Row, by_matcher, compared, frozen, refined_rows
from microloftr.model.loftr import LoFTR
from microloftr.model.weights import load_model, shipped
from microloftr.results import write_result
from microloftr.training.packed import load_tensors, save_tensors

RECORD, XFEAT = "waterfall", "xfeat"
STEPS, FINE_STEPS, PAIRS, SEEDS = 470, 150, 54, 2
RATE, WARMUP = 3e-4, 15  # of the fine stages: they go on from weights that are trained
COARSE, WHOLE, HALF = "coarse", "whole", "half"
AGAIN = "~"  # between the name of a row and the number of another seed
LAST = list(MENDS)[-1]
HALF_WAY = 4  # times fewer steps from a random start
Progress = Callable[[Iterable], Iterable]
WORDS = {
    COARSE: "coarse only",
    HALF: "naive, fine stage half trained",
    WHOLE: "naive, all parts trained together",
    "naive": "naive, fine stage trained on",
    **{key: f"+ {words}" for key, words in MENDS.items()},
    "micro-coarse": "micro's network alone, coarse only",
    "micro": "micro's network alone",
    "matcher": "the Matcher: the pixels decide",
}


def trained_stages(
    model: LoFTR, atlas: Atlas | None, folder: Path, schedule: Schedule, progress: Progress = iter
) -> dict[str, FineStage]:
    """A fine stage for every recipe, trained on the frozen rest of `model`, and kept in `folder` once all are done."""
    starts = {key: stage_of(model, recipe, schedule.seed) for key, recipe in recipes().items()}
    losses = {key: fine_loss_of(recipe, schedule.weights) for key, recipe in recipes().items()}
    return _kept(
        folder / f"stages-{schedule.steps}-{schedule.seed}.pt", model, starts, atlas, schedule, progress, losses
    )


def half_trained(model: LoFTR, atlas: Atlas | None, folder: Path, schedule: Schedule) -> dict[str, FineStage]:
    """A naive fine stage from a random start, stopped after a few steps; kept as the others are."""
    schedule = replace(schedule, steps=max(schedule.steps // HALF_WAY, 1))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(schedule.seed)
        starts = {HALF: FineStage(LoFTR(model.config))}
    losses = {HALF: fine_loss_of(Recipe(), schedule.weights)}
    return _kept(folder / f"half-{schedule.steps}-{schedule.seed}.pt", model, starts, atlas, schedule, iter, losses)


def _kept(path: Path, model: LoFTR, starts: dict[str, FineStage], *training: Any) -> dict[str, FineStage]:
    """Stages as the file has them, else trained by `train_stages` and written there."""
    if path.is_file():
        held = load_tensors(path)
        for key, stage in starts.items():
            stage.load_state_dict(held[key])
        return {key: stage.eval() for key, stage in starts.items()}
    made = train_stages(model, starts, *training)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_tensors({key: stage.state_dict() for key, stage in made.items()}, path)
    return made


def study(
    model: LoFTR, stages: Sequence[dict[str, FineStage]], atlas: Atlas, pairs: int, micro: LoFTR | None
) -> dict[str, Any]:
    """The record's values by probe: a row for the coarse cells, for the naive model, every mend, and for micro.

    stages: of every seed; the first one's are compared, the others' stand beside them. micro: None leaves it out, and
    every mutual cell of the naive model counts, however unsure.
    """
    probes, threshold = {}, 0.0 if micro is None else None
    again = {f"{key}{AGAIN}{n}": stage for n, one in enumerate(stages[1:], 1) for key, stage in one.items()}
    for probe, mixture in PROBES.items():
        seen = frozen(model, atlas, mixture, pairs, threshold)
        rows = refined_rows(seen, {COARSE: None, WHOLE: FineStage(model).eval(), **stages[0], **again})
        if micro is not None:
            own = frozen(micro, atlas, mixture, pairs)
            rows |= refined_rows(own, {"micro-coarse": None, "micro": FineStage(micro)})
            rows["matcher"] = by_matcher(own)
        probes[probe] = table(rows, atlas)
    return probes


def table(rows: dict[str, Row], atlas: Atlas) -> dict[str, Any]:
    """Every row's numbers, beside those of the rows that it is compared with; the same of other seeds, in short.

    The last mend has a `total` beside its change: from the naive fine stage to it, of each seed by itself.
    """
    before = dict(zip(MENDS, ["naive", *MENDS], strict=False)) | {"naive": WHOLE, "matcher": "micro"}
    coarse = dict.fromkeys((HALF, WHOLE, "naive", *MENDS), COARSE) | dict.fromkeys(("micro", "matcher"), "micro-coarse")
    start = {LAST: "naive"} if LAST in rows and "naive" in rows else {}
    for key in [key for key in rows if AGAIN in key]:
        name, _, seed = key.partition(AGAIN)
        if name in start and f"naive{AGAIN}{seed}" in rows:
            start[key] = f"naive{AGAIN}{seed}"
        if name in before:
            before[key] = f"{before[name]}{AGAIN}{seed}" if f"{before[name]}{AGAIN}{seed}" in rows else before[name]
        coarse[key] = coarse[name]
    before = {key: to for key, to in before.items() if to in rows}
    told, found = compared(rows, before, coarse, [*atlas.specimens], start), {}
    for name in (name for name in WORDS if name in rows):
        others = [told[key] for key in told if key.startswith(f"{name}{AGAIN}")]
        found[name] = {"words": WORDS[name], **told[name], "again": [_short(other) for other in others]}
        for kind, kept in (("change", "holds"), ("total", "total_holds")):
            if kind in told[name]:
                seeds = [told[name], *(other for other in others if kind in other)]
                found[name][kept] = {metric: _holds(seeds, metric, kind) for metric in ("median", "auc_3")}
    return found


def _short(row: dict[str, Any]) -> dict[str, Any]:
    """What is kept of another seed's row: its numbers and its changes."""
    return {name: row[name] for name in ("median", "within", "auc_1", "auc_3", "change", "total") if name in row}


def _holds(rows: Sequence[dict[str, Any]], metric: str, kind: str = "change") -> str:
    """better or worse where every seed's change says so, else tie."""
    said = {row[kind][metric]["verdict"] for row in rows}
    return said.pop() if len(said) == 1 else "tie"


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
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"of the fine stages ({SEEDS})")
    parser.add_argument(
        "--init",
        choices=(XFEAT, "none"),
        default=XFEAT,
        help="of the naive backbone; none: random weights",
    )
    parser.add_argument("--folder", type=Path, default=None, help="of the trainings (runs/waterfall)")
    parser.add_argument("--results", type=Path, default=None, help="folder of the record (results)")
    options = parser.parse_args(argv)
    if min(options.steps, options.fine_steps, options.seeds) < 1 or not 8 <= options.pairs <= 1000:
        raise ParameterError("--steps, --fine-steps and --seeds must be at least 1, and --pairs from 8 to 1000.")
    folder = options.folder or predictions_folder().parent / RECORD
    learnt, held_out = split_atlas("train"), split_atlas("validation")
    model = train_naive(learnt, folder, options.steps, init=options.init)
    schedule = replace(
        Schedule(), steps=options.fine_steps, rate=RATE, warmup=WARMUP, mixture=MIXTURE, precision="bf16"
    )
    own = folder / f"{naive_config(options.steps, 0, options.init).train.run}-{options.steps}"

    def shown(steps: Iterable) -> Iterable:
        return tqdm(steps, total=schedule.steps, desc="fine stages", mininterval=10)

    stages = []
    for seed in range(options.seeds):
        one = replace(schedule, seed=seed)
        stages.append(half_trained(model, learnt, own, one) | trained_stages(model, learnt, own, one, shown))
    beside, micro = {}, None
    if options.init == XFEAT:  # what does not depend on the naive LoFTR is told once
        micro = load_model(shipped("micro"))
        beside = {"micro": {"weights_sha256": weights_sha256(SimpleNamespace(model=micro))}}
        beside["harm"] = harm(micro, held_out, options.pairs)
    values = {
        **beside,
        "probes": study(model, stages, held_out, options.pairs, micro),
        "naive": {
            "init": options.init,
            "steps": options.steps,
            "pairs": 16 * options.steps,
            "mixture": MIXTURE,
            "parameters": sum(p.numel() for p in model.parameters()),
        },
        "fine": {
            "steps": schedule.steps,
            "pairs": schedule.steps * schedule.pairs,
            "crop": schedule.crop,
            "seeds": options.seeds,
        },
        "pairs": options.pairs,
    }
    given = {"steps": STEPS, "fine_steps": FINE_STEPS, "pairs": PAIRS, "seeds": SEEDS, "init": XFEAT}
    words = [
        f"--{name.replace('_', '-')} {value}"
        for name, value in vars(options).items()
        if given.get(name, value) != value
    ]
    command = " ".join(["python -m microloftr", RECORD, *words])
    record = RECORD if options.init == XFEAT else f"{RECORD}_{options.init}"
    path = write_result(record, values, command=command, seed=0, split="validation", folder=options.results)
    print(path)
    return 0
