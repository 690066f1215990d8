"""Results → tables in README and vault, and one figure. `--check` says what is stale and writes nothing.

A table stands between `<!--table:NAME-->` and `<!--/table-->`; NAME is evaluate (one line per matcher), evaluate_detail
(everything that was measured) or evaluate_real. Each names its estimator, threshold, resize and match cap.
"""

import argparse
import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from microloftr.errors import MicroLoFTRError
from microloftr.files import atomic_write, write_text
from microloftr.results import read_result, results_folder

MARKER = re.compile(r"<!--table:(?P<name>[\w-]+)-->(?P<body>.*?)<!--/table-->", re.DOTALL)
CODE = re.compile(r"^(?P<fence>```+|~~~+).*?^(?P=fence)|(?P<tick>`+)[^\n]*?(?P=tick)", re.DOTALL | re.MULTILINE)
FIGURE = Path("docs_obsidian/attachments/evaluation.png")
SOURCE_KEY = "Source SHA-256"  # in the PNG: which numbers it was drawn from
COLOURS = ("#0072b2", "#56b4e9", "#d55e00", "#e69f00", "#999999", "#009e73", "#cc79a7", "#000000")  # Okabe & Ito


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m microloftr report", description="Tables and figure from results/.")
    parser.add_argument("--check", action="store_true", help="write nothing; status 1 where something is stale")
    parser.add_argument("--root", type=Path, default=None, help="the clone to work in")
    options = parser.parse_args(argv)
    stale = report(options.root or results_folder().parent, write=not options.check)
    for line in stale:
        print(f"{line} is stale" if options.check else f"wrote {line}")
    if not stale:
        print("Tables and figure are up to date.")
    return 1 if options.check and stale else 0


def report(root: Path, *, write: bool) -> list[str]:
    """Bring the tables of README.md and the vault and the figure up to date; returns what was not.

    Raises MicroLoFTRError for an unknown table, a marker that is not closed, a missing record, or a README without one.
    """
    stale, seen = [], False
    for path in _texts(root):
        before = path.read_text(encoding="utf-8")
        after = fill(before, root / "results", path.name)
        seen |= path.name == "README.md" and MARKER.search(before) is not None
        if after != before:
            stale.append(path.relative_to(root).as_posix())
            if write:
                write_text(path, after)
    if not seen:
        raise MicroLoFTRError("README.md has no place for a table, such as <!--table:evaluate--><!--/table-->.")
    values = read_result("evaluate", root / "results")["values"]
    if figure_source(root / FIGURE) != source_sha256(values):
        stale.append(FIGURE.as_posix())
        if write:
            draw(values, root / FIGURE)
    return stale


def _texts(root: Path) -> list[Path]:
    notes = sorted(p for p in (root / "docs_obsidian").rglob("*.md") if ".obsidian" not in p.parts)
    return [path for path in (root / "README.md", *notes) if path.is_file()]


def fill(text: str, results: Path, name: str) -> str:
    """The text with the body of each of its tables made anew from `results`; markers in code are left alone."""
    plain = CODE.sub(lambda match: " " * len(match.group()), text)
    markers = list(MARKER.finditer(plain))
    if len(markers) != plain.count("<!--table:") or any("<!--table:" in marker["body"] for marker in markers):
        raise MicroLoFTRError(f"{name} has a table marker that is not closed by <!--/table-->.")
    for marker in reversed(markers):
        if marker["name"] not in TABLES:
            raise MicroLoFTRError(f"{name} asks for the table {marker['name']}; there are {', '.join(TABLES)}.")
        record, make = TABLES[marker["name"]]
        start, end = marker.span("body")
        text = f"{text[:start]}\n{make(read_result(record, results))}\n{text[end:]}"
    return text


def overview(record: dict[str, Any]) -> str:
    """One line per matcher: AUC@3 with its interval and the failures at each level, and the time."""
    levels, matchers = record["values"]["levels"], record["values"]["matchers"]
    rows = []
    for key in matchers:
        cells = [_auc_and_failures(levels[level][key]) for level in levels]
        rows.append([matchers[key]["name"], *cells, _mean_seconds([levels[level][key] for level in levels])])
    sizes = {(levels[level][key]["n"], levels[level][key]["sources"]) for level in levels for key in matchers}
    count = " or ".join(f"{n} pairs of {sources} specimens" for n, sources in sorted(sizes))
    caption = (
        f"AUC@3 px of the mean corner error [95 % interval, drawn by specimen]; after the dot, failures (> 10 px). "
        f"Each level: {count}, {record['split']} split. {_conditions(record)}"
    )
    return _table(["matcher", *levels, "s per pair"], rows) + f"\n\n{caption}"


def detail(record: dict[str, Any]) -> str:
    """A line per level, matcher and stage with every metric."""
    levels, matchers = record["values"]["levels"], record["values"]["matchers"]
    columns = ["AUC@1", "AUC@3", "AUC@5", "AUC@10", "> 10 px", "P@1", "P@3", "P@5", "median px", "matches", "s"]
    rows = []
    for level, summaries in levels.items():
        for key in matchers:
            stages = {matchers[key]["name"]: summaries[key]}
            if "coarse" in summaries[key]:
                stages[f"{matchers[key]['name']}, coarse only"] = summaries[key]["coarse"]
            rows += [[level, name, *_all_metrics(summary)] for name, summary in stages.items()]
    caption = (
        "AUC of the mean corner error [95 % interval, drawn by specimen]; P@t: share of matches within t px of the "
        f"truth; median px: of the matches within 3 px. {_conditions(record)}"
    )
    return _table(["level", "matcher", *columns], rows) + f"\n\n{caption}"


def real(record: dict[str, Any]) -> str:
    """A line per matcher, a column per group of real pairs."""
    groups, matchers = record["values"]["groups"], record["values"]["matchers"]
    rows, heads = [], []
    for group, summaries in groups.items():
        known = next(iter(summaries.values()))
        heads.append(f"{group} ({known['n_3']} of {known['n']})")
    for key in matchers:
        rows.append([matchers[key]["name"], *(_real_cell(summaries[key]) for summaries in groups.values())])
    caption = (
        "Real pairs: AUC@3 px of the mean error over the overlap [95 % interval, drawn by source; none for a single "
        "one]; after the dot, failures (> 10 px). Only pairs whose truth is good to half the threshold count: how many "
        "of all do for AUC@3 stands in brackets. Landmarks: median distance in px, and the share that came nearer. "
        f"{_conditions(record)}"
    )
    return _table(["matcher", *heads], rows) + f"\n\n{caption}"


TABLES: dict[str, tuple[str, Callable[[dict[str, Any]], str]]] = {
    "evaluate": ("evaluate", overview),
    "evaluate_detail": ("evaluate", detail),
    "evaluate_real": ("evaluate_real", real),
}


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _two(value: float | None, digits: int = 2) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _interval(summary: dict[str, Any], name: str) -> str:
    if summary[name] is None or summary[f"{name}_low"] is None:
        return _two(summary[name])
    return f"{_two(summary[name])} [{_two(summary[f'{name}_low'])}, {_two(summary[f'{name}_high'])}]"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.0f} %"


def _auc_and_failures(summary: dict[str, Any]) -> str:
    return f"{_interval(summary, 'auc_3')} · {_percent(summary['failures'])}"


def _real_cell(summary: dict[str, Any]) -> str:
    marked = summary.get("landmarks")
    if marked and summary["auc_3"] is None:
        return f"landmarks {_two(marked['tre'], 1)} px · {_percent(marked['robustness'])}"
    return _auc_and_failures(summary) if summary["auc_3"] is not None else "–"


def _all_metrics(summary: dict[str, Any]) -> list[str]:
    cells = [_interval(summary, f"auc_{t}") for t in (1, 3, 5, 10)]
    cells += [_percent(summary["failures"]), *(_two(summary[f"precision_{t}"]) for t in (1, 3, 5))]
    return [*cells, _two(summary["median_error"]), f"{summary['matches']:.0f}", _two(summary["seconds"], 3)]


def _mean_seconds(summaries: list[dict[str, Any]]) -> str:
    return _two(sum(summary["seconds"] for summary in summaries) / len(summaries), 3)


def _conditions(record: dict[str, Any]) -> str:
    """Estimator, threshold, match cap, resize and commit: without them a figure says nothing."""
    values = record["values"]
    resizes: dict[str, list[str]] = {}
    for told in values["matchers"].values():
        resizes.setdefault(told["resize"], []).append(told["name"])
    resize = "; ".join(text if len(resizes) == 1 else f"{', '.join(names)}: {text}" for text, names in resizes.items())
    return (
        f"Homography for every matcher: {values['estimator']}, {values['threshold_px']:g} px, from at most "
        f"{values['match_cap']} matches by confidence. Resize: {resize}. Commit {record['commit']}."
    )


def source_sha256(values: dict[str, Any]) -> str:
    """Hash of the numbers that the figure shows."""
    return hashlib.sha256(json.dumps(values["levels"], sort_keys=True).encode()).hexdigest()


def figure_source(path: Path) -> str | None:
    """The hash that a figure carries, None where there is no such figure."""
    from PIL import Image

    if not path.is_file():
        return None
    with Image.open(path) as image:
        return image.info.get(SOURCE_KEY)


def _limit(summary: dict[str, Any], name: str, side: str) -> float:
    limit = summary[f"{name}_{side}"]
    return summary[name] if limit is None else limit


def draw(values: dict[str, Any], path: Path) -> None:
    """Bars of AUC@3 and of failures by level and matcher, with intervals; white dots: coarse points only."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    levels, matchers = values["levels"], values["matchers"]
    figure = Figure(figsize=(10, 3.9), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    titles = {"auc_3": "AUC@3 px of the mean corner error", "failures": "share of pairs above 10 px"}
    for axes, (name, title) in zip(figure.subplots(1, 2, sharey=True), titles.items(), strict=True):
        width = 0.8 / len(matchers)
        for number, (key, told) in enumerate(matchers.items()):
            x = [place + (number - (len(matchers) - 1) / 2) * width for place in range(len(levels))]
            summaries = [levels[level][key] for level in levels]
            heights = [summary[name] for summary in summaries]
            limits = [[abs(s[name] - _limit(s, name, side)) for s in summaries] for side in ("low", "high")]
            colour = COLOURS[number % len(COLOURS)]
            axes.bar(x, heights, 0.92 * width, color=colour, label=told["name"])
            axes.errorbar(x, heights, yerr=limits, fmt="none", ecolor="#333333", elinewidth=0.9, capsize=1.5)
            coarse = [(place, s["coarse"][name]) for place, s in zip(x, summaries, strict=True) if "coarse" in s]
            if coarse:
                dots = axes.plot(
                    *zip(*coarse, strict=True), "o", color="white", markeredgecolor="#333333", markersize=4
                )
                if not any("coarse" in label for label in axes.get_legend_handles_labels()[1]):
                    dots[0].set_label("coarse only")
        axes.set_title(title, fontsize=10)
        axes.set_xticks(range(len(levels)), list(levels))
        axes.set_ylim(0, 1)
        axes.grid(axis="y", color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    shown = figure.axes[0].get_legend_handles_labels()
    figure.legend(*shown, fontsize=9, frameon=False, loc="outside lower center", ncols=len(shown[0]))
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=130, metadata={"Software": None, SOURCE_KEY: source_sha256(values)})
