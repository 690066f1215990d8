"""Results → tables in README and vault, and figures. `--check` says what is stale and writes nothing.

A table stands between `<!--table:NAME-->` and `<!--/table-->`; NAME is evaluate (one line per matcher), evaluate_detail
(everything that was measured), evaluate_modalities, evaluate_real, reliability or bench (see `tables`), baselines
(`tables_protocols`), or ablations_trained or ablations_inference (`ablation_tables`).
"""

import argparse
import hashlib
import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from microloftr.errors import MicroLoFTRError
from microloftr.evaluation.ablation_tables import inference_table, trained_table
from microloftr.evaluation.tables import bench, detail, modalities, overview, real, reliability
from microloftr.evaluation.tables_protocols import baselines
from microloftr.files import atomic_write, write_text
from microloftr.results import read_result, results_folder
from microloftr.training.sweep import sweep_table
from microloftr.views.figures import figure_bytes
from microloftr.views.score_figures import draw_scores

MARKER = re.compile(r"<!--table:(?P<name>[\w-]+)-->(?P<body>.*?)<!--/table-->", re.DOTALL)
CODE = re.compile(r"^(?P<fence>```+|~~~+).*?^(?P=fence)|(?P<tick>`+)[^\n]*?(?P=tick)", re.DOTALL | re.MULTILINE)
ATTACHMENTS = Path("docs_obsidian/attachments")
SOURCE_KEY = "Source SHA-256"  # in the PNG: which numbers it was drawn from
TABLES: dict[str, tuple[str, Callable[[dict[str, Any]], str]]] = {
    "evaluate": ("evaluate", overview),
    "evaluate_detail": ("evaluate", detail),
    "evaluate_modalities": ("evaluate", modalities),
    "evaluate_real": ("evaluate_real", real),
    "reliability": ("reliability", reliability),
    "bench": ("bench", bench),
    "baselines": ("baselines", baselines),
    "multirun": ("multirun", sweep_table),
    "ablations_trained": ("ablations", trained_table),
    "ablations_inference": ("ablations", inference_table),
}


@dataclass(frozen=True)
class Drawn:
    """A figure: the record it comes from, its file among the attachments, and what it calls the error."""

    record: str
    file: str
    words: dict[str, str]


CORNERS, OVERLAP = {"error": "the mean corner error"}, {"error": "the mean error over the overlap"}
FIGURES = {  # by the part of the record that each shows
    "levels": Drawn("evaluate", "evaluation.png", CORNERS),
    "modalities": Drawn("evaluate", "evaluation_modalities.png", CORNERS),
    "groups": Drawn("evaluate_real", "evaluation_real.png", OVERLAP),
}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m microloftr report", description="Tables and figures from results/.")
    parser.add_argument("--check", action="store_true", help="write nothing; status 1 where something is stale")
    parser.add_argument("--root", type=Path, default=None, help="the clone to work in")
    options = parser.parse_args(argv)
    stale = report(options.root or results_folder().parent, write=not options.check)
    for line in stale:
        print(f"{line} is stale" if options.check else f"wrote {line}")
    if not stale:
        print("Tables and figures are up to date.")
    return 1 if options.check and stale else 0


def report(root: Path, *, write: bool) -> list[str]:
    """Bring the tables of README.md and the vault and the figures up to date; returns what was not.

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
    for part, told in FIGURES.items():
        path = root / ATTACHMENTS / told.file
        record = _record(told.record, root / "results")
        if part not in record["values"]:  # an evaluation of real pairs alone, or none of them
            continue
        if figure_source(path) != source_sha256(record["values"][part]):
            stale.append((ATTACHMENTS / told.file).as_posix())
            if write:
                draw(record, part, path)
    return stale


def _record(name: str, results: Path) -> dict[str, Any]:
    """The record, which only evaluate_real may lack: not everybody has real pairs."""
    if name == "evaluate_real" and not (results / f"{name}.json").is_file():
        return {"values": {}}
    return read_result(name, results)


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


def source_sha256(part: dict[str, Any]) -> str:
    """Hash of the numbers that a figure shows."""
    return hashlib.sha256(json.dumps(part, sort_keys=True).encode()).hexdigest()


def figure_source(path: Path) -> str | None:
    """The hash that a figure carries, None where there is no such figure."""
    if not path.is_file():
        return None
    with Image.open(path) as image:
        return image.info.get(SOURCE_KEY)


def draw(record: dict[str, Any], part: str, path: Path) -> None:
    """Draw a part of a record ("levels", "groups" or "modalities"), with the hash of its numbers inside the PNG."""
    values = record["values"]
    figure = draw_scores(values[part], values["matchers"], **FIGURES[part].words)
    information = PngInfo()
    information.add_text(SOURCE_KEY, source_sha256(values[part]))
    with atomic_write(path) as temporary, Image.open(io.BytesIO(figure_bytes(figure, "png"))) as image:
        image.save(temporary, pnginfo=information, optimize=True)
