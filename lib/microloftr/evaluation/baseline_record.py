"""`python -m microloftr baselines`: every matcher of the house on the same few validation pairs, as one record.

A broader and shallower look than `evaluate`: some pairs of every level, each of another micrograph, and some real ones.
Slow matchers get a quarter of them, which the record says. What cannot run here (a package or file is missing) is named
with its reason and left out. Times are not told: the matchers run on a machine that does other work.
"""

import argparse
import sys
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from microloftr.errors import MicroLoFTRError, ParameterError
from microloftr.evaluation.evaluate import evaluate
from microloftr.evaluation.matchers import get_matcher, matcher_key, public_name
from microloftr.evaluation.pair import spread
from microloftr.evaluation.predict import predictions_folder
from microloftr.evaluation.protocols import LEVEL_NAMES, MadePairs, get_protocol, real_folder
from microloftr.evaluation.score import ESTIMATOR
from microloftr.evaluation.stored import made_pairs, taken
from microloftr.evaluation.tables_protocols import baselines as table
from microloftr.results import commit, write_result

MATCHERS = (
    "micro", "rootsift", "orb", "akaze", "phase_correlation", "ecc", "rootsift_ecc", "kornia_sift", "kornia_hessian",
    "kornia_registrator", "xfeat", "aliked_lightglue", "kornia_loftr",
)  # fmt: skip
SLOW = {"kornia_sift", "kornia_hessian", "kornia_registrator"}
PER_LEVEL, REAL = 12, 20
SLOWER = 4  # times fewer pairs
TOLD = ("n", "sources", "auc_3", "auc_3_low", "auc_3_high", "auc_10", "failures", "precision_3", "matches")


class SomePairs(MadePairs):
    """Of a level one pair of each of at most `limit` micrographs, which are spread over all of the split."""

    @cached_property
    def _pairs(self) -> Any:
        from microloftr.data.fixed import split_atlas

        every = made_pairs(self.name, self.split, len(split_atlas(self.split)), self.store)
        return taken(every, spread(len(every), self.limit))


def compare(
    matchers: Sequence[str], per_level: int, real: str | None, real_count: int, split: str, runs: Path
) -> dict[str, Any]:
    """The record's values: by level (and `real`, the pairs of a folder) and matcher what `evaluate` says, in short.

    Real pairs whose truth is no better than 1.5 px count in none of these numbers.
    """
    able, left_out = [], {}
    for name in matchers:
        try:
            get_matcher(name)
            able.append(name)
        except MicroLoFTRError as error:
            left_out[public_name(name)] = str(error)
    values = {**ESTIMATOR, "per_level": per_level, "slower": SLOWER, "slow": sorted(SLOW & {*able})}
    values |= {"versions": _versions(), "left_out": left_out, "matchers": {}, "levels": {}}
    for names, share in ((able, 1), ([name for name in able if name in SLOW], SLOWER)):
        chosen = [name for name in names if (name in SLOW) == (share > 1)]
        if not chosen:
            continue
        protocols = [SomePairs(level, split, -(-per_level // share)) for level in LEVEL_NAMES]
        protocols += [get_protocol(f"real:{real}", limit=-(-real_count // share))] if real else []
        found = evaluate(chosen, protocols, runs=runs / f"of_{share}", results=None)
        for record in found.values():
            values["matchers"] |= record["matchers"]
            parts = record["levels"] if "levels" in record else {"real": record["groups"]["all"]}
            for part, summaries in parts.items():
                into = values["levels"].setdefault(part, {})
                into |= {key: {word: one[word] for word in TOLD} for key, one in summaries.items()}
    order = [matcher_key(name) for name in able]
    values["matchers"] = {key: values["matchers"][key] for key in order}
    return values


def _versions() -> dict[str, str]:
    """Of the libraries that calculate, where they have been loaded."""
    names = ("cv2", "kornia", "numpy", "skimage", "torch")
    return {name: str(sys.modules[name].__version__) for name in names if name in sys.modules}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m microloftr baselines", description="Every matcher on a few pairs.")
    parser.add_argument("--matchers", default=",".join(MATCHERS), help="comma-separated names, NAME:PLACE or paths")
    parser.add_argument("--per-level", type=int, default=PER_LEVEL, help=f"made pairs of each level ({PER_LEVEL})")
    parser.add_argument("--real", default=None, help="folder with pairs.json (else what MICROLOFTR_PAIRS names)")
    parser.add_argument("--real-count", type=int, default=REAL, help=f"of its pairs, spread over all ({REAL})")
    parser.add_argument("--split", default="validation")
    parser.add_argument("--runs", type=Path, default=None, help="folder for predictions and CSV files (runs/baselines)")
    parser.add_argument("--results", type=Path, default=None, help="folder of the record (results)")
    options = parser.parse_args(argv)
    if min(options.per_level, options.real_count) < 1:
        raise ParameterError("--per-level and --real-count must be 1 or more.")
    matchers, real = options.matchers.split(","), real_folder(options.real)
    runs = options.runs or predictions_folder().parent / "baselines"
    values = compare(matchers, options.per_level, real, options.real_count, options.split, runs)
    words = ["python -m microloftr baselines", f"--per-level {options.per_level}"]
    words += ["--real FOLDER", f"--real-count {options.real_count}"] if real else []
    words += [f"--matchers {','.join(map(public_name, matchers))}"] if tuple(matchers) != MATCHERS else []
    print(table({"values": values, "commit": commit(), "split": options.split}))
    print(write_result("baselines", values, command=" ".join(words), split=options.split, folder=options.results))
    return 0
