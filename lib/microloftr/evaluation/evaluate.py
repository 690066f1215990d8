"""Predict and score in one go: every matcher on the four levels, and on real pairs where a folder is given."""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from microloftr.evaluation.matchers import DEFAULT_MATCHERS, get_matcher
from microloftr.evaluation.predict import pairs_folder, predict, predictions_folder
from microloftr.evaluation.protocols import LEVEL_NAMES, PairSource, fingerprint, get_protocol, real_folder
from microloftr.evaluation.score import command_of, default_results, score
from microloftr.evaluation.tables import detail, modalities, overview, real
from microloftr.results import commit


def evaluate(
    matchers: Sequence[str],
    protocols: Sequence[PairSource],
    *,
    runs: Path,
    results: Path | None,
    command: str = "",
    force: bool = False,
    jobs: int = 1,
    retime: bool = False,
) -> dict[str, dict[str, Any]]:
    """Predict where no current file is in `runs`, score, and return the values by record (see `score.score`)."""
    fingerprints = {protocol.name: fingerprint(protocol) for protocol in protocols}
    for name in matchers:
        matcher = get_matcher(name)
        for protocol in protocols:
            predict(
                name,
                protocol,
                runs / "predictions",
                matcher=matcher,
                pairs_sha256=fingerprints[protocol.name],
                force=force,
                jobs=jobs,
                retime=retime,
            )
    return score(
        matchers,
        protocols,
        predictions=runs / "predictions",
        tables=runs / "scores",
        results=results,
        command=command,
        fingerprints=fingerprints,
    )


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m microloftr evaluate", description="Predict, score, print the table.")
    parser.add_argument("--matchers", default=",".join(DEFAULT_MATCHERS), help="comma-separated names or paths")
    parser.add_argument("--levels", default=",".join(LEVEL_NAMES), help="made levels; an empty text for none")
    parser.add_argument("--split", default="validation", help="validation (for choosing) or test (final tables only)")
    parser.add_argument("--real", default=None, help="folder with pairs.json (else what MICROLOFTR_PAIRS names)")
    parser.add_argument("--limit", type=int, default=None, help="pairs per protocol: a quick look, nothing is written")
    parser.add_argument("--runs", type=Path, default=None, help="folder for predictions and CSV files (runs)")
    parser.add_argument("--results", type=Path, default=None, help="folder for the JSON files (results, or runs)")
    parser.add_argument("--force", action="store_true", help="predict again where files are there")
    parser.add_argument("--jobs", type=int, default=1, help="processes that match side by side, of one thread each (1)")
    parser.add_argument("--retime", action="store_true", help="measure the seconds again, where files are there")
    options = parser.parse_args(argv)
    matchers = options.matchers.split(",")
    names = [*filter(None, options.levels.split(",")), *filter(None, [real_folder(options.real)])]
    store = None if options.limit is not None else pairs_folder()
    protocols = [get_protocol(name, options.split, options.limit, store) for name in names]
    command = command_of("evaluate", matchers, options.split, any(not protocol.made for protocol in protocols))
    with tempfile.TemporaryDirectory() as scratch:
        quick = options.limit is not None
        values = evaluate(
            matchers,
            protocols,
            runs=Path(scratch) if quick else options.runs or predictions_folder().parent,
            results=None if quick else options.results or default_results(matchers),
            command=command,
            force=options.force,
            jobs=options.jobs,
            retime=options.retime,
        )
    for record, contents in values.items():
        for table in (real,) if record == "evaluate_real" else (detail, modalities, overview):
            print(table({"values": contents, "commit": commit(), "split": options.split}), end="\n\n")
    return 0
