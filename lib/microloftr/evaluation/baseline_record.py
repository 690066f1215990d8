"""`python -m microloftr baselines`: every matcher of the house on the same few pairs, as records.

A broader and shallower look than `evaluate`: of every level some validation pairs, each of another micrograph
(results/baselines.json), and of a folder of real pairs what `evaluate` has not matched yet (baselines_real.json).
Slow matchers get every second made pair; those are told apart as well, with all matchers on them.
What cannot run here (a package or file is missing) is named with its reason and left out. Times are not told: the
matchers run on a machine that does other work.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from microloftr.errors import MicroLoFTRError, ParameterError
from microloftr.evaluation.matchers import DEFAULT_MATCHERS, MatcherLike, get_matcher, matcher_key, public_name
from microloftr.evaluation.pair import Pair, spread
from microloftr.evaluation.predict import predict, predictions_folder
from microloftr.evaluation.predictions import load_predictions
from microloftr.evaluation.protocols import LEVEL_NAMES, MadePairs, PairSource, fingerprint, get_protocol, real_folder
from microloftr.evaluation.score import ESTIMATOR, score_pairs
from microloftr.evaluation.stored import made_pairs, taken
from microloftr.evaluation.summary import PairScore, summarise_groups, summarise_protocol
from microloftr.evaluation.tables_baselines import baselines, shared
from microloftr.results import commit, write_result

MATCHERS = (
    "micro", "rootsift", "orb", "akaze", "phase_correlation", "ecc", "rootsift_ecc", "kornia_sift", "kornia_hessian",
    "kornia_registrator", "xfeat", "aliked_lightglue", "kornia_loftr",
)  # fmt: skip
SLOW = {"kornia_registrator"}
PER_LEVEL = 12
EVERY = 2  # of the made pairs, for slow matchers
TOLD = ("n", "sources", "auc_3", "auc_3_low", "auc_3_high", "auc_10", "failures", "precision_3", "matches")


class SomePairs(MadePairs):
    """Of a level one pair of each of at most `limit` micrographs, which are spread over all of the split."""

    @cached_property
    def _pairs(self) -> Any:
        from microloftr.data.fixed import split_atlas

        every = made_pairs(self.name, self.split, len(split_atlas(self.split)), self.store)
        return taken(every, spread(len(every), self.limit))


class EveryNth:
    """Every `step`-th pair of made pairs, under the same names."""

    made, record, error, estimators = True, "evaluate", "corners", ("magsac",)

    def __init__(self, whole: MadePairs, step: int) -> None:
        self.whole, self.step, self.name, self.split = whole, step, whole.name, whole.split

    def __len__(self) -> int:
        return -(-len(self.whole) // self.step)

    def __getitem__(self, number: int) -> Pair:
        return self.whole[range(0, len(self.whole), self.step)[number]]

    def __iter__(self) -> Iterator[Pair]:
        return (self[number] for number in range(len(self)))


def compare(matchers: Sequence[str], per_level: int, split: str, runs: Path) -> dict[str, Any]:
    """Values of baselines.json: by level and matcher what `evaluate` says, in short.

    `shared` has the same of those pairs alone that slow matchers have seen, and which micrographs and modalities.
    """
    able, values = _able(matchers)
    values |= {"per_level": per_level, "every": EVERY, "slow": sorted(SLOW & {*able}), "levels": {}}
    values["shared"] = {"micrographs": [], "modalities": [], "levels": {}}
    for level in LEVEL_NAMES:
        whole = SomePairs(level, split, per_level)
        part = EveryNth(whole, EVERY)
        rows = _scored({name: made for name, made in able.items() if name not in SLOW}, whole, runs / "of_1", values)
        slow = {name: made for name, made in able.items() if name in SLOW}
        rows += _scored(slow, part, runs / f"of_{EVERY}", values)
        values["levels"][level] = _short(summarise_protocol(rows))
        both = {pair.id for pair in part}
        values["shared"]["levels"][level] = _short(summarise_protocol([row for row in rows if row.id in both]))
        values["shared"]["micrographs"] = sorted({pair.id.partition("-")[2] for pair in part})
        values["shared"]["modalities"] = sorted({pair.modality or "" for pair in part})
    return _in_order(values, able)


def compare_real(matchers: Sequence[str], folder: str, count: int | None, runs: Path) -> dict[str, Any]:
    """Values of baselines_real.json: by group of real pairs and matcher what `evaluate` says.

    Those that `evaluate` runs by itself are left out without a word: their scores stand in evaluate_real.json.
    Others of MATCHERS that nobody asked for are named as `not_asked`.
    """
    able, values = _able([name for name in matchers if name not in DEFAULT_MATCHERS])
    asked = {public_name(name) for name in matchers}
    values["not_asked"] = [name for name in MATCHERS if name not in asked and name not in DEFAULT_MATCHERS]
    protocol = get_protocol(f"real:{folder}", limit=count)
    values["pairs_sha256"] = {"real": fingerprint(protocol)}
    values["groups"] = summarise_groups(_scored(able, protocol, runs / "real", values))
    return _in_order(values, able)


def _able(matchers: Sequence[str]) -> tuple[dict[str, MatcherLike], dict[str, Any]]:
    """The matchers that can run here by name, and what every record begins with."""
    able, left_out = {}, {}
    for name in matchers:
        try:
            able[name] = get_matcher(name)
        except MicroLoFTRError as error:
            place = name.partition(":")[2]
            left_out[public_name(name)] = str(error).replace(place, "…") if place else str(error)
    return able, {**ESTIMATOR, "versions": _versions(), "left_out": left_out, "matchers": {}}


def _scored(
    matchers: dict[str, MatcherLike], protocol: PairSource | EveryNth, runs: Path, values: dict[str, Any]
) -> list[PairScore]:
    """Scores of every matcher on every pair; the matchers' identity goes into `values`."""
    rows, pairs_sha256 = [], fingerprint(protocol)
    for name, matcher in matchers.items():
        path = predict(name, protocol, runs / "predictions", matcher=matcher, pairs_sha256=pairs_sha256)
        file = load_predictions(path)
        rows += [row for row in score_pairs(file, protocol, pairs_sha256) if row.stage == "final"]
        told = {key: file.header[key] for key in ("weights_sha256", "resize", "device", "threads", "commit")}
        values["matchers"][matcher_key(name)] = {"name": public_name(name), **told}
    return rows


def _short(summaries: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {key: {word: one[word] for word in TOLD} for key, one in summaries.items()}


def _in_order(values: dict[str, Any], able: dict[str, MatcherLike]) -> dict[str, Any]:
    values["matchers"] = {key: values["matchers"][key] for key in map(matcher_key, able)}
    return values


def _versions() -> dict[str, str]:
    """Of the libraries that calculate, where they have been loaded."""
    names = ("cv2", "kornia", "numpy", "skimage", "torch")
    found = {name: str(sys.modules[name].__version__) for name in names if name in sys.modules}
    if hasattr(sys.modules.get("cv2"), "xfeatures2d"):
        found["cv2"] += " with contrib"
    return found


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m microloftr baselines", description="Every matcher on a few pairs.")
    parser.add_argument("--matchers", default=",".join(MATCHERS), help="comma-separated names, NAME:PLACE or paths")
    parser.add_argument(
        "--per-level", type=int, default=PER_LEVEL, help=f"made pairs of each level ({PER_LEVEL}; 0: none)"
    )
    parser.add_argument("--real", default=None, help="folder with pairs.json (else what MICROLOFTR_PAIRS names)")
    parser.add_argument("--real-count", type=int, default=None, help="of its pairs, spread over all (all)")
    parser.add_argument("--split", default="validation")
    parser.add_argument("--runs", type=Path, default=None, help="folder for predictions (runs/baselines)")
    parser.add_argument("--results", type=Path, default=None, help="folder of the records (results)")
    options = parser.parse_args(argv)
    matchers, real = options.matchers.split(","), real_folder(options.real)
    if options.per_level < 0 or (options.per_level == 0 and not real) or options.real_count == 0:
        raise ParameterError("There must be made or real pairs: --per-level of 1 or more, or --real with 1 or more.")
    runs = options.runs or predictions_folder().parent / "baselines"
    named = [f"--matchers {','.join(map(public_name, matchers))}"] if tuple(matchers) != MATCHERS else []
    if options.per_level:
        values = compare(matchers, options.per_level, options.split, runs)
        record = {"values": values, "commit": commit(), "split": options.split}
        print(baselines(record), shared(record), sep="\n\n")
        words = ["python -m microloftr baselines", f"--per-level {options.per_level}", *named]
        print(write_result("baselines", values, command=" ".join(words), split=options.split, folder=options.results))
    if real:
        values = compare_real(matchers, real, options.real_count, runs)
        count = [f"--real-count {options.real_count}"] if options.real_count else []
        words = ["python -m microloftr baselines --per-level 0 --real FOLDER", *count, *named]
        print(write_result("baselines_real", values, command=" ".join(words), split="real", folder=options.results))
    return 0
