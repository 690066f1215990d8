"""A notebook is a pair: `NN_name.py` (percent script, the source) and `NN_name.ipynb` (the same cells, executed).

Reading and writing both halves, and what makes the second one deterministic: ids of cells, hashes of sources, metadata.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import jupytext
import nbformat
from nbformat import NotebookNode

from literate.errors import LiterateError
from literate.project import Project
from microloftr.files import write_text

PERCENT = {"extension": ".py", "format_name": "percent"}
# The filters stand in the notebook too, so that the pair stays a pair where jupytext.toml is not read.
JUPYTEXT = {"cell_metadata_filter": "tags,-all", "formats": "ipynb,py:percent", "notebook_metadata_filter": "-all"}
METADATA = {
    "jupytext": JUPYTEXT,
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


@dataclass(frozen=True)
class Pair:
    """The two halves of one notebook; either may be missing on disk."""

    script: Path
    notebook: Path

    @property
    def name(self) -> str:
        return self.script.stem


def all_pairs(project: Project) -> list[Pair]:
    """Every notebook of the project in the order of its number, by whichever half exists."""
    halves = [path for path in project.notebooks.iterdir() if path.suffix in {".py", ".ipynb"}]
    names = sorted({path.stem for path in halves if not path.name.startswith(".")})
    return [Pair(project.notebooks / f"{name}.py", project.notebooks / f"{name}.ipynb") for name in names]


def select_pairs(project: Project, names: list[str]) -> list[Pair]:
    """The pairs called `names`, all of them for an empty list. `00`, `00_match` and `notebooks/00_match.py` all work.

    Raises LiterateError for a name that fits no notebook, or more than one.
    """
    pairs = all_pairs(project)
    if not names:
        return pairs
    chosen = []
    for name in names:
        stem = Path(name).stem if name.endswith((".py", ".ipynb")) else Path(name).name
        hits = [p for p in pairs if p.name == stem] or [p for p in pairs if stem and p.name.startswith(stem)]
        if len(hits) != 1:
            known = ", ".join(p.name for p in hits or pairs) or "none"
            raise LiterateError(
                f"'{name}' names {'several notebooks' if hits else 'no notebook'}; choose from: {known}."
            )
        chosen += [p for p in hits if p not in chosen]
    return chosen


def read_script(path: Path) -> NotebookNode:
    """The percent script as a notebook without outputs, its ids and metadata made deterministic."""
    try:
        notebook = jupytext.reads(path.read_text(encoding="utf-8"), fmt=PERCENT)
    except FileNotFoundError:
        raise LiterateError(f"{path.name} is missing: the script is the source of the notebook.") from None
    except (nbformat.ValidationError, UnicodeDecodeError) as error:
        raise LiterateError(f"{path.name} is not a readable script: {str(error).splitlines()[0]}") from None
    return tidy(notebook)


def script_text(notebook: NotebookNode) -> str:
    """The percent script of `notebook`, as JupyterLab writes it on saving with the project's jupytext.toml."""
    bare = nbformat.from_dict({**notebook, "metadata": {**notebook.metadata, "jupytext": dict(JUPYTEXT)}})
    return jupytext.writes(bare, fmt=PERCENT)


def read_notebook(path: Path) -> NotebookNode:
    """The notebook as it is on disk. Raises LiterateError when it is no notebook."""
    try:
        return nbformat.reads(path.read_text(encoding="utf-8"), as_version=4)
    except FileNotFoundError:
        raise LiterateError(f"{path.name} is missing; build it with: python -m literate build {path.stem}") from None
    except (nbformat.reader.NotJSONError, nbformat.ValidationError, UnicodeDecodeError) as error:
        raise LiterateError(f"{path.name} is not a readable notebook: {str(error).splitlines()[0]}") from None


def notebook_text(notebook: NotebookNode) -> str:
    """The notebook as JSON with sorted keys, validated."""
    return nbformat.writes(notebook, version=nbformat.NO_CONVERT) + "\n"


def write_if_changed(path: Path, text: str) -> bool:
    """Write atomically, unless the file holds this text already; returns whether it was written."""
    if path.exists() and path.read_bytes() == text.encode():
        return False
    write_text(path, text)
    return True


def source_hash(source: str) -> str:
    """The hash that stands beside the outputs of a cell and tells whether they are its own."""
    return hashlib.sha256(source.encode()).hexdigest()[:16]


def cell_id(position: int, cell: NotebookNode) -> str:
    """The id of a cell: its position and a hash of its kind and content."""
    return f"{position:02d}-{source_hash(cell.cell_type + ':' + cell.source)[:8]}"


def tags(cell: NotebookNode) -> list[str]:
    return list(cell.metadata.get("tags", []))


def contents(notebook: NotebookNode) -> list[tuple[str, str, tuple[str, ...]]]:
    """What both halves must share: kind, source and tags of each cell."""
    return [(cell.cell_type, cell.source, tuple(tags(cell))) for cell in notebook.cells]


def tidy(notebook: NotebookNode) -> NotebookNode:
    """A copy with ids from position and content, and no metadata but tags, the stored hash of a code cell, and of the
    notebook which records it read.
    """
    cells = []
    for position, cell in enumerate(notebook.cells):
        metadata = {"tags": tags(cell)} if tags(cell) else {}
        if cell.cell_type == "code" and "literate" in cell.metadata:
            metadata["literate"] = dict(cell.metadata.literate)
        cells.append({**cell, "id": cell_id(position, cell), "metadata": metadata})
    read = {"literate": dict(notebook.metadata["literate"])} if "literate" in notebook.get("metadata", {}) else {}
    return nbformat.from_dict({"cells": cells, "metadata": METADATA | read, "nbformat": 4, "nbformat_minor": 5})
