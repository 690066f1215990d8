"""`python -m microloftr pixels-alone`: what do search and pixels solve with a network that knows nothing?

In the main table untrained and simplest networks stand alone, and `micro` is a whole Matcher: search, its network, and
pixels that decide. Here the same whole Matcher runs with random weights and with `one_conv`, on a quarter of the fixed
pairs, one of each micrograph: where these are as good as `micro`, the score says nothing about its weights.
"""

import argparse
from pathlib import Path

from microloftr.evaluation.predict import pairs_folder, predictions_folder
from microloftr.evaluation.predict_and_score import predict_and_score
from microloftr.evaluation.protocols import LEVEL_NAMES, MadePairs
from microloftr.evaluation.summary import SEED
from microloftr.evaluation.tables import detail, overview
from microloftr.results import commit, results_folder, write_result

MATCHERS = ("micro", "one_conv-searched", "micro-random-searched")
PAIRS = 27  # of each level, of 108: without a good proposal everything is tried, which takes seconds


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m microloftr pixels-alone", description=__doc__.splitlines()[0])
    parser.add_argument("--limit", type=int, default=PAIRS, help=f"pairs of each level ({PAIRS})")
    parser.add_argument("--jobs", type=int, default=1, help="processes that match side by side, of one thread each (1)")
    parser.add_argument("--runs", type=Path, default=None, help="folder for predictions and CSV files")
    parser.add_argument("--results", type=Path, default=None, help="folder of the record (results, or runs)")
    options = parser.parse_args(argv)
    protocols = [MadePairs(level, limit=options.limit, store=pairs_folder()) for level in LEVEL_NAMES]
    runs = options.runs or predictions_folder().parent / "pixels_alone"  # fewer pairs: not beside those of evaluate
    found = predict_and_score(MATCHERS, protocols, runs=runs, results=None, jobs=options.jobs)["evaluate"]
    values = {key: value for key, value in found.items() if key != "modalities"} | {"pairs_per_level": options.limit}
    for summaries in values["levels"].values():
        for summary in summaries.values():
            summary.pop("coarse", None)  # what the Matcher starts from, not what is asked here
    told = {"values": values, "commit": commit(), "split": "validation"}
    for table in (detail, overview):
        print(table(told), end="\n\n")
    whole = options.limit == PAIRS
    folder = options.results or (results_folder() if whole else results_folder().parent / "runs")
    command = "python -m microloftr pixels-alone" + ("" if whole else f" --limit {options.limit}")
    command += f" --jobs {options.jobs}" * (options.jobs > 1)
    print(write_result("pixels_alone", values, command=command, seed=SEED, split="validation", folder=folder))
    return 0
