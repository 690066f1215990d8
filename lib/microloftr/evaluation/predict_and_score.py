"""Predict and score in one go: every matcher on the four levels, and on the user's own pairs where they are given."""

import argparse
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from microloftr.config.schema import load_config
from microloftr.errors import ConfigError
from microloftr.evaluation.matchers import get_matcher
from microloftr.evaluation.predict import pairs_folder, predict, predictions_folder
from microloftr.evaluation.protocols import PairSource, fingerprint, get_protocol, real_folder
from microloftr.evaluation.report import ATTACHMENTS, FIGURES, draw
from microloftr.evaluation.score import command_of, default_results, score
from microloftr.evaluation.tables import detail, modalities, overview, real
from microloftr.evaluation.tables_protocols import hpatches, landmarks
from microloftr.results import commit, read_result, results_folder

TABLES = {  # of records that have tables of their own; made pairs have three
    "evaluate_real": (real,),
    "evaluate_hpatches": (hpatches,),
    "evaluate_landmarks": (landmarks,),
}


def predict_and_score(
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


def defaults(overrides: Sequence[str]) -> dict[str, Any]:
    """What the flags are where they are not given, from the configuration's group eval."""
    for override in overrides:
        if not override.startswith(("eval.", "eval=")):
            raise ConfigError(f"{override!r} is no setting of evaluate; write eval.KEY=VALUE or eval=PRESET")
    chosen = asdict(load_config(overrides).eval)
    lists = {name: ",".join(chosen.pop(name)) for name in ("matchers", "levels")}
    return lists | {name: None if value in ("", 0) and value is not False else value for name, value in chosen.items()}


def further_words(levels: str, others: dict[str, str], results: Path | None) -> list[str]:
    """What a record's command says beside matchers and split: no levels, other protocols, and where it is kept."""
    words = [] if levels else ["--levels", "''"]
    words += [word for kind in others for word in (f"--{kind}", *["PLACE"] * (others[kind] != "bundled"))]
    here = results is not None and results.resolve() == results_folder().resolve()
    return words + ["--results", "results"] * here


def draw_figures(records: Iterable[str], folder: Path) -> list[Path]:
    """The figures of these records of a folder, as `report` draws them: among the vault's attachments where the folder
    is results/, else beside the records. Returns their paths.
    """
    into = results_folder().parent / ATTACHMENTS if folder.resolve() == results_folder().resolve() else folder
    drawn = []
    for name in records:
        record = read_result(name, folder)
        for part, told in FIGURES.items():
            if told.record == name and told.numbers(record) and draw(record, part, into / told.file):
                drawn.append(into / told.file)
    return drawn


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m microloftr evaluate", description="Predict, score, print the table.")
    parser.add_argument("overrides", nargs="*", metavar="eval.KEY=VALUE", help="as the flags, or eval=PRESET")
    parser.add_argument("--matchers", help="comma-separated names or paths")
    parser.add_argument("--levels", help="made levels; an empty text for none")
    parser.add_argument("--split", help="validation (for choosing) or test (final tables only)")
    parser.add_argument("--real", default=None, help="folder with pairs.json (else what MICROLOFTR_PAIRS names)")
    parser.add_argument("--hpatches", default=None, metavar="FOLDER", help="folder of HPatches sequences")
    parser.add_argument("--landmarks", default=None, metavar="PLACE", help="images with landmarks, or ANHIR's table")
    parser.add_argument(
        "--whole", nargs="?", const="bundled", default=None, metavar="SOURCE", help="whole micrographs, not crops"
    )
    parser.add_argument("--limit", type=int, default=None, help="pairs per protocol: a quick look, nothing is written")
    parser.add_argument("--runs", type=Path, default=None, help="folder for predictions and CSV files (runs)")
    parser.add_argument("--results", type=Path, default=None, help="folder for the JSON files (results, or runs)")
    parser.add_argument("--force", action="store_true", help="predict again where files are there")
    parser.add_argument("--jobs", type=int, help="processes that match side by side, of one thread each (1)")
    parser.add_argument("--retime", action="store_true", help="measure the seconds again, where files are there")
    parser.set_defaults(**defaults(parser.parse_known_intermixed_args(argv)[0].overrides))
    options = parser.parse_intermixed_args(argv)
    matchers = options.matchers.split(",")
    names = [*filter(None, options.levels.split(",")), *filter(None, [real_folder(options.real)])]
    others = {kind: place for kind in ("hpatches", "landmarks", "whole") if (place := getattr(options, kind))}
    names += [f"{kind}:{place}" for kind, place in others.items()]
    store = None if options.limit is not None else pairs_folder()
    protocols = [get_protocol(name, options.split, options.limit, store) for name in names]
    more = further_words(options.levels, others, options.results)
    real_too = any(protocol.record == "evaluate_real" for protocol in protocols)
    command = command_of("evaluate", matchers, options.split, real_too, more)
    results = None if options.limit is not None else options.results or default_results(matchers)
    with tempfile.TemporaryDirectory() as scratch:
        values = predict_and_score(
            matchers,
            protocols,
            runs=Path(scratch) if results is None else options.runs or predictions_folder().parent,
            results=results,
            command=command,
            force=options.force,
            jobs=options.jobs,
            retime=options.retime,
        )
    for record, contents in values.items():
        for table in TABLES.get(record, (detail, modalities, overview)):
            print(table({"values": contents, "commit": commit(), "split": options.split}), end="\n\n")
    for path in draw_figures(values, results) if results is not None else ():
        print(path)
    return 0
