"""`python -m microloftr COMMAND …`: one table of commands; each module's `main(argv)` returns an exit status."""

import difflib
import os
import sys
from importlib import import_module

from microloftr.errors import MicroLoFTRError

COMMANDS = {
    "train": ("microloftr.training.run", "train a model [KEY=VALUE …]"),
    "sweep": ("microloftr.training.sweep", "a training with every combination of values [KEY=A,B …]"),
    "replay": ("microloftr.training.replay", "the very batch of a run's step again FOLDER --step K"),
    "training-record": ("microloftr.training.record", "a run's curves as results/training.json"),
    "training-dynamics": ("microloftr.training.dynamics_record", "a small run, its predictions kept [KEY=VALUE …]"),
    "early-stopping": ("microloftr.training.stopping_record", "a run past the turn, and where it stops [KEY=VALUE …]"),
    "recipe": ("microloftr.training.diagnostics.recipe", "what each rule of the recipe is worth [--steps N]"),
    "profile-training": ("microloftr.training.profile", "pairs per second, and where a step's time goes [KEY=VALUE …]"),
    "finetune-example": ("microloftr.evaluation.own_example", "a folder of micrographs to fine-tune on [FOLDER]"),
    "finetune-report": ("microloftr.evaluation.own_images", "before and after fine-tuning [KEY=VALUE …]"),
    "predict": ("microloftr.evaluation.predict", "pairs → a file of matches --matcher NAME --pairs LEVEL"),
    "score": ("microloftr.evaluation.score", "files of predictions → scores and their summary [--matchers NAMES]"),
    "evaluate": ("microloftr.evaluation.predict_and_score", "predict and score in one go [--split validation|test]"),
    "stages": ("microloftr.evaluation.stages", "before refinement and after it, with intervals [--matcher NAME]"),
    "inspect": ("microloftr.evaluation.inspection", "the worst, median or best pair of a row [--pairs P --which W]"),
    "worst": ("microloftr.evaluation.worst", "a matcher's worst pairs, to look at [--matcher NAME --level LEVEL]"),
    "reliability": ("microloftr.evaluation.reliability", "can confidence and verdict be trusted? [--matchers NAMES]"),
    "calibrate": ("microloftr.evaluation.calibrate", "confidence → share of right matches, on validation [--weights]"),
    "pixels-alone": (
        "microloftr.evaluation.pixels_alone",
        "search and pixels with weights that know nothing [--limit N]",
    ),
    "corners": ("microloftr.evaluation.corners", "errors at the corners beside those over the overlap [--pairs N]"),
    "ablations": ("microloftr.evaluation.ablations", "what each ingredient is worth [--only NAME,… --steps N]"),
    "architecture": ("microloftr.evaluation.architecture", "attention, fine stage, rules of matching [--only PART,…]"),
    "baselines": ("microloftr.evaluation.baseline_record", "every matcher on a few pairs [--per-level N --real DIR]"),
    "breaking": ("microloftr.evaluation.breaking", "where each matcher breaks, one thing at a time [--matchers NAMES]"),
    "bench": ("microloftr.evaluation.bench", "time and memory beside the peers [--matchers NAMES --threads N]"),
    "choose-threshold": ("microloftr.evaluation.threshold", "AUC against the confidence threshold, on validation"),
    "shrinking": ("microloftr.evaluation.shrinking", "matches by the filter that shrank the images, on validation"),
    "refined-cells": ("microloftr.evaluation.refined_cells", "which cells to refine in training [--steps N --pairs N]"),
    "waterfall": ("microloftr.evaluation.waterfall", "a naive LoFTR, its causes of harm mended one by one [--steps N]"),
    "report": ("microloftr.evaluation.report", "results/ → tables and figures in README and vault [--check]"),
    "figures": ("microloftr.views.draw", "the vault's diagrams and figures, from one trace [--only NAME,…]"),
    "sheet": ("microloftr.views.sheet", "a sheet of made pairs to look at [--mixture NAME --out FILE.png]"),
}


def main(argv: list[str] | None = None) -> int:
    """Run one command. Status 0: done; 2: the user can mend it (one line on stderr); 130: interrupted."""
    try:
        status = _run(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()
        return status
    except MicroLoFTRError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader (`| head`) has gone: the interpreter's own flush must not complain either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def usage() -> str:
    """The list of commands, one line each."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {text}" for name, (_, text) in COMMANDS.items()]
    return "\n".join(["usage: python -m microloftr COMMAND …, where COMMAND is one of", *lines])


def _run(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    name, *rest = argv
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"choose from: {', '.join(COMMANDS)}."
        print(f"error: There is no command '{name}': {hint}", file=sys.stderr)
        return 2
    return import_module(COMMANDS[name][0]).main(rest) or 0


if __name__ == "__main__":
    sys.exit(main())
