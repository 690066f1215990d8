"""`evaluate(matcher, dataset, n_samples, seed)`: how good are the points before refinement, and after it?

    found = evaluate("micro", "medium", n_samples=54, seed=0)
    print(found.table())                      # coarse only, coarse + refinement, and their difference
    found.save("runs/mine")                   # JSON, CSV and a figure
    found.inspect("worst", stage="coarse")    # the pair behind a number

Same weights, same pairs, the network alone: no search over turns, no second look, no pixels followed. Rotations beyond
what a network can see are taken away beforehand, by the quarters that leave at most 45°.
`python -m microloftr stages` writes results/stages.json.
"""

import argparse
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from tqdm import tqdm

from microloftr.errors import ParameterError
from microloftr.evaluation.identity import weights_sha256
from microloftr.evaluation.matchers import get_matcher, matcher_key, public_name
from microloftr.evaluation.protocols import Pair
from microloftr.evaluation.score import ESTIMATOR, transform_by
from microloftr.evaluation.stage_pairs import MADE, Drawn, drawn_pairs, turned_pair
from microloftr.evaluation.stage_rows import ShortRow, write_rows, write_short
from microloftr.evaluation.stage_scores import Network, Points, StageScore, Stranger, runner_of, score_stages
from microloftr.evaluation.stage_summary import summarise_stages
from microloftr.evaluation.stage_times import retimed, spent, warning
from microloftr.evaluation.summary import RESAMPLES
from microloftr.evaluation.tables_stages import loaded, stages_table
from microloftr.files import write_json
from microloftr.results import commit, read_result, results_folder, write_result
from microloftr.views.explorers.inspect import View, draw_explorer, explore
from microloftr.views.figures import save_figure
from microloftr.views.inspect_figures import ERRORS, Opened, Way
from microloftr.views.stage_figures import draw_stages

NONE = np.zeros((0, 2))
SHORT = "_pairs"  # behind the name of a record: the table of its pairs, in short
N_SAMPLES, SIZE = 54, 320  # pairs of a level: two of every micrograph; px of a crop, as the fixed pairs


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What `evaluate` found: `rows`, a StageScore per pair and stage (short ones where read back), and their summary.

    `values` is what a record holds (see `summarise_stages`) and the settings; the pairs are made anew when opened.
    """

    values: dict[str, Any]
    rows: tuple[StageScore | ShortRow, ...] = field(repr=False)
    pairs: Drawn = field(repr=False)
    runner: Network | Stranger = field(repr=False)

    def table(self, seconds: bool = True) -> str:
        """Markdown: for each level and for all, a line per stage and one for the difference."""
        return stages_table({"values": self.values}, seconds)

    def figure(self) -> Figure:
        """Both stages and their difference, by level and by modality."""
        return draw_stages(self.values)

    def open(self, row: StageScore | ShortRow) -> Opened:
        """The pair of a row with what each stage makes of it, found anew."""
        pair, _ = turned_pair(self.pairs[row.number]) if self.values["turned"] else (self.pairs[row.number], 0)
        stages = {one.stage: one for one in self.rows if one.number == row.number}
        return opened(pair, self.runner(pair), stages, ERRORS[self.pairs.error])

    def inspect(
        self,
        which: str = "worst",
        *,
        by: str = "error_px",
        stage: str | None = None,
        group: str = "all",
        modality: str = "all",
    ) -> Figure:
        """The worst, the median or the best pair of a row of the table, as a Figure.

        by: a field of the rows, such as error_px, median_offset or recall; stage: coarse, fine or final (None: the
        last one); group: a level, or all; modality likewise. Raises ParameterError for what is not there.
        """
        view = View(which, group, stage or self.runner.stages[-1], by, modality)
        return draw_explorer(self.rows, self.open, view)

    def explore(self, **view: Any):
        """`inspect` by a click: the widget, in JupyterLab."""
        return explore(self.rows, self.open, View(**{"stage": self.runner.stages[-1], **view}))

    def save(self, folder: str | Path, name: str = "stages", *, command: str = "", results: Path | None = None) -> Path:
        """Write NAME.csv, NAME.png and the record NAME.json with NAME_pairs.csv, which has the rows in short.

        All go into `folder`, the record and the short table into `results` if given.
        """
        folder = Path(folder)
        write_rows(folder / f"{name}.csv", self.rows)
        write_short((results or folder) / f"{name}{SHORT}.csv", self.rows)
        save_figure(self.figure(), folder / f"{name}.png")
        told = {"command": command or "microloftr.evaluation.evaluate", "seed": self.values["seed"]}
        return write_result(name, self.values, **told, split=self.values["split"], folder=results or folder)


def evaluate(
    matcher: Any,
    dataset: str | Sequence[Pair] = MADE,
    n_samples: int | None = N_SAMPLES,
    seed: int = 0,
    *,
    split: str = "validation",
    size: int = SIZE,
    turned: bool = True,
    resamples: int = RESAMPLES,
    progress: Callable = iter,
) -> Evaluation:
    """Coarse only and coarse + refinement on the same pairs, with intervals drawn by source, by level and modality.

    matcher: a LoFTR, a Matcher (its network is asked, not its search), the name or file of one, or any object with
    match(image_0, image_1), which gets its one column. dataset, n_samples, seed, split, size: see `drawn_pairs`.
    turned: image_1 is turned by the quarters that leave at most 45°, told in each row. progress wraps the numbers of
    the pairs, as tqdm does. Raises ParameterError or WeightsError.
    """
    name = public_name(matcher) if isinstance(matcher, str) else type(matcher).__name__
    made = get_matcher(matcher) if isinstance(matcher, str) else matcher
    if not callable(getattr(made, "match", None)) and not hasattr(made, "match_cells"):
        raise ParameterError(f"A {name} is no matcher: give a LoFTR, a Matcher, a name, or what has match().")
    runner, pairs = runner_of(made), drawn_pairs(dataset, n_samples, seed, split, size)
    rows: list[StageScore] = []
    every: list[dict[str, Points]] = []
    for number in progress(range(len(pairs))):
        pair, turns = turned_pair(pairs[number]) if turned else (pairs[number], 0)
        if number == 0:
            runner(pair)  # the first pass of a process is slow
        found = runner(pair)
        every.append({stage: Points(NONE, NONE, points.seconds, cpu=points.cpu) for stage, points in found.items()})
        rows += score_stages(name, pair, found, runner.side, pairs.error, turns, number)
    values: dict[str, Any] = {
        "matcher": name,
        "weights_sha256": weights_sha256(made if hasattr(made, "model") else Holder(made)),
        "stages": list(runner.stages),
        "threshold": getattr(runner, "threshold", None),
        "dataset": pairs.name,
        "error": pairs.error,
        "network": isinstance(runner, Network),
        "n_samples": n_samples,
        "seed": seed,
        "split": split,
        "size": size,
        "turned": turned,
        **ESTIMATOR,
        "resamples": resamples,
        "times": spent(every),
    }
    return Evaluation(values | summarise_stages(rows, resamples), tuple(rows), pairs, runner)


@dataclass(frozen=True)
class Holder:
    """Something with a model, for what asks for that."""

    model: Any


def opened(pair: Pair, found: dict[str, Points], rows: dict[str, Any], error: str) -> Opened:
    """A pair and what each stage says of it, for the eye."""
    ways = {}
    for stage, points in found.items():
        matrix, _ = transform_by("magsac", points.points_0, points.points_1)
        ways[stage] = Way(points.points_0, points.points_1, matrix, rows[stage].error_px)
    turns = next(iter(rows.values())).turns
    images = pair.image_0, pair.image_1
    truth = pair.homography if pair.planar else None
    return Opened(pair.id, pair.group, pair.modality or "", *images, truth, ways, turns, error)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m microloftr stages", description="Before refinement, and after it.")
    parser.add_argument("--matcher", default="micro", help="a name or weights; a matcher without stages has one column")
    parser.add_argument("--dataset", default=MADE, help="levels, a level, fixed, a folder with pairs.json, whole …")
    parser.add_argument("--samples", type=int, default=N_SAMPLES, help=f"pairs of a level, or in all ({N_SAMPLES})")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--split", default="validation", help="validation (for choosing) or test (final tables only)")
    parser.add_argument("--size", type=int, default=SIZE, help=f"px of a made crop ({SIZE})")
    parser.add_argument("--as-they-are", action="store_true", help="do not turn image_1 by quarters")
    parser.add_argument("--runs", type=Path, default=None, help="folder for the CSV file and the figure (runs/stages)")
    parser.add_argument("--results", type=Path, default=None, help="folder of the record (results, or runs/stages)")
    parser.add_argument("--retime", action="store_true", help="measure the record's seconds again, nothing else")
    options = parser.parse_args(argv)
    runs = options.runs or results_folder().parent / "runs" / "stages"
    usual = options.matcher == "micro" and options.dataset == MADE
    results = options.results or (results_folder() if usual else None)
    if options.retime:
        return _retime(options, results or runs)
    found = evaluate(
        options.matcher, options.dataset, options.samples, options.seed, split=options.split, size=options.size,
        turned=not options.as_they_are, progress=lambda pairs: tqdm(pairs, unit="pair", disable=None),
    )  # fmt: skip
    given = {"matcher": public_name(options.matcher), "dataset": options.dataset}
    if Path(options.dataset).is_dir():
        given["dataset"] = "FOLDER"  # no path of this machine
    given |= {name: getattr(options, name) for name in ("samples", "seed", "split", "size")}
    usually = parser.parse_args([])
    words = [word for name, value in given.items() if value != getattr(usually, name) for word in (f"--{name}", value)]
    words += ["--as-they-are"] * options.as_they_are
    name = _name(options, found.values["dataset"])
    path = found.save(runs, name, command=shlex.join(["python", "-m", "microloftr", "stages", *map(str, words)]),
                      results=results)  # fmt: skip
    print(found.table())
    if loaded(found.values["times"]):
        print(f"warning: {warning(found.values['times'])}", file=sys.stderr)
    print(path)
    return 0


def _name(options: argparse.Namespace, dataset: str) -> str:
    """Of the record of a matcher and a dataset, by the dataset's own name."""
    usual = options.matcher == "micro" and options.dataset == MADE
    name = "stages" if usual else f"stages_{matcher_key(options.matcher)}_{matcher_key(dataset)}"
    return name if options.split == "validation" else f"{name}_{options.split}"


def _retime(options: argparse.Namespace, folder: Path) -> int:
    """The record once more with new seconds; its command, commit and date stay those of all other numbers."""
    name = _name(options, drawn_pairs(options.dataset, 1, 0, options.split).name)
    record = read_result(name, folder)
    values = record["values"]
    pairs = drawn_pairs(options.dataset, *(values[key] for key in ("n_samples", "seed", "split", "size")))
    runner = runner_of(get_matcher(options.matcher))
    record["values"] = retimed(values, runner, pairs, lambda some: tqdm(some, unit="pair", disable=None))
    record["values"]["times"]["commit"] = commit()
    write_json(folder / f"{name}.json", record)
    print(stages_table(record))
    print(folder / f"{name}.json")
    return 0
