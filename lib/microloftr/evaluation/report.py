"""Results → tables in README and vault, and figures. `--check` says what is stale and writes nothing.

A table stands between `<!--table:NAME-->` and `<!--/table-->`; NAME is one of TABLES. A figure of FIGURES carries a
hash of the numbers that it shows. Numbers in prose and the figures of notebooks are filled in by `python -m literate`,
the diagrams drawn by `python -m microloftr figures`, the worst pairs by `worst`, which needs the images: those of the
first two kinds are told when they are stale, with the command that mends them (`stale_notebooks`).

Records that were measured with other weights than those shipped, with an older Matcher or from code that was not
committed, are listed as well (`stale_records`). That is no failure: nobody is made to measure everything again at once.
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

from matplotlib.figure import Figure
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from microloftr.errors import MicroLoFTRError
from microloftr.evaluation.ablation_tables import inference_table, trained_table
from microloftr.evaluation.architecture_tables import architecture_table, fine_table
from microloftr.evaluation.stale_notebooks import stale_notebooks, stale_numbers
from microloftr.evaluation.stale_records import other_code, other_weights, uncommitted
from microloftr.evaluation.tables import bench, detail, modalities, overview, real, reliability
from microloftr.evaluation.tables_baselines import baselines, baselines_real, breaking, shared
from microloftr.evaluation.tables_corners import corners_table
from microloftr.evaluation.tables_stages import stages_modalities, stages_table
from microloftr.evaluation.tables_waterfall import begun_table, waterfall_table
from microloftr.files import atomic_write, write_text
from microloftr.results import read_result, results_folder
from microloftr.training.sweep import sweep_table
from microloftr.views.ablation_figures import draw_ablations
from microloftr.views.architecture_figures import draw_architecture
from microloftr.views.baseline_figures import draw_baselines, draw_breaking
from microloftr.views.figures import figure_bytes
from microloftr.views.reliability_figures import draw_reliability
from microloftr.views.score_figures import draw_scores

MARKER = re.compile(r"<!--table:(?P<name>[\w-]+)-->(?P<body>.*?)<!--/table-->", re.DOTALL)
CODE = re.compile(r"^(?P<fence>```+|~~~+).*?^(?P=fence)|(?P<tick>`+)[^\n]*?(?P=tick)", re.DOTALL | re.MULTILINE)
ATTACHMENTS = Path("docs_obsidian/attachments")
SOURCE_KEY = "Source SHA-256"  # in the PNG: which numbers it was drawn from
TABLES: dict[str, tuple[str | tuple[str, ...], Callable[..., str]]] = {  # name: its records, and what makes it of them
    "evaluate": ("evaluate", overview),
    "evaluate_detail": ("evaluate", detail),
    "evaluate_modalities": ("evaluate", modalities),
    "evaluate_real": ("evaluate_real", real),
    "evaluate_test": ("evaluate_test", overview),
    "evaluate_whole": ("evaluate_whole", overview),
    "stages": ("stages", stages_table),
    "stages_real": ("stages_micro_real", lambda record: stages_table(record, False)),  # large images: no times
    "stages_modalities": ("stages", stages_modalities),
    "pixels_alone": ("pixels_alone", overview),
    "corners": ("corners", corners_table),
    "reliability": ("reliability", reliability),
    "bench": ("bench", bench),
    "baselines": ("baselines", baselines),
    "baselines_shared": ("baselines", shared),
    "baselines_real": (("evaluate_real", "baselines_real"), baselines_real),
    "breaking": ("breaking", breaking),
    "multirun": ("multirun", sweep_table),
    "waterfall": ("waterfall", waterfall_table),
    "waterfall_none": ("waterfall_none", begun_table),
    "ablations_trained": ("ablations", trained_table),
    "ablations_inference": ("ablations", inference_table),
    "architecture": ("architecture", architecture_table),
    "architecture_fine": ("architecture", fine_table),
}


@dataclass(frozen=True)
class Drawn:
    """A figure: the record it comes from, its file among the attachments, the part of the values that it shows (None:
    all of them), and what draws the values."""

    record: str
    file: str
    part: str | None
    make: Callable[[dict[str, Any]], Figure | None]

    def numbers(self, record: dict[str, Any]) -> Any:
        """What the figure shows; None where the record has no such part."""
        return record["values"] if self.part is None else record["values"].get(self.part)


def _scores(part: str, error: str) -> Callable[[dict[str, Any]], Figure]:
    return lambda values: draw_scores(values[part], values["matchers"], error)


CORNERS, OVERLAP = "the mean corner error", "the mean error over the overlap"
FIGURES = {
    "levels": Drawn("evaluate", "evaluation.png", "levels", _scores("levels", CORNERS)),
    "modalities": Drawn("evaluate", "evaluation_modalities.png", "modalities", _scores("modalities", CORNERS)),
    "groups": Drawn("evaluate_real", "evaluation_real.png", "groups", _scores("groups", OVERLAP)),
    "reliability": Drawn("reliability", "reliability.png", None, draw_reliability),
    "ablations": Drawn("ablations", "ablations.png", None, draw_ablations),
    "architecture": Drawn("architecture", "architecture.png", None, draw_architecture),
    "baselines": Drawn("baselines", "baselines.png", None, draw_baselines),
    "breaking": Drawn("breaking", "baselines_breaking.png", None, draw_breaking),
}
ALWAYS = {"evaluate"}  # records that every clone has; another one's figure is left out where there is none


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m microloftr report", description="Tables and figures from results/.")
    parser.add_argument("--check", action="store_true", help="write nothing; status 1 where something is stale")
    parser.add_argument("--root", type=Path, default=None, help="the clone to work in")
    options = parser.parse_args(argv)
    root = options.root or results_folder().parent
    stale = report(root, write=not options.check)
    for line in stale:
        print(f"{line} is stale" if options.check else f"wrote {line}")
    if not stale:
        print("Tables and figures are up to date.")
    notebooks, silent = stale_notebooks(root)
    numbers = stale_numbers(root)
    for line in notebooks:
        print(f"stale: {line}")
    for line in numbers:
        print(f"stale: {line}. Again: python -m literate vault")
    if silent:
        print(f"note: {', '.join(silent)} do not tell which records they read. Again: python -m literate build")
    for line in other_weights(root / "results"):
        print(f"note: {line}")
    if older := other_code(root / "results"):
        print(f"note: measured before the code of the Matcher last changed: {', '.join(older)}")
    if dirty := uncommitted(root / "results"):
        print(f"note: made from code that was not committed, so that their commit does not tell it: {', '.join(dirty)}")
    return 1 if options.check and (stale or notebooks or numbers) else 0


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
        numbers = told.numbers(record)
        if not numbers:  # an evaluation of real pairs alone, or none of them
            continue
        if figure_source(path) != source_sha256(numbers) and (not write or draw(record, part, path)):
            stale.append((ATTACHMENTS / told.file).as_posix())
    return stale


def _record(name: str, results: Path) -> dict[str, Any]:
    """The record; one without values where a clone need not have it: not everybody has real pairs."""
    if name not in ALWAYS and not (results / f"{name}.json").is_file():
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
        names, make = TABLES[marker["name"]]
        records = [read_result(one, results) for one in ((names,) if isinstance(names, str) else names)]
        start, end = marker.span("body")
        text = f"{text[:start]}\n{make(*records)}\n{text[end:]}"
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


def draw(record: dict[str, Any], part: str, path: Path) -> bool:
    """Draw one of FIGURES from its record, with the hash of its numbers inside the PNG.

    False where the record has nothing to draw yet, and no file is written then.
    """
    told = FIGURES[part]
    figure = told.make(record["values"])
    if figure is None:
        return False
    information = PngInfo()
    information.add_text(SOURCE_KEY, source_sha256(told.numbers(record)))
    with atomic_write(path) as temporary, Image.open(io.BytesIO(figure_bytes(figure, "png"))) as image:
        image.save(temporary, pnginfo=information, optimize=True)
    return True
