"""Are the notebooks as building leaves them? `python -m literate check [NAME …] [--run]` names everything that is not.

Without `--run` nothing is executed; with it each notebook is run again and must print what is committed.
"""

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

from nbformat import NotebookNode

from literate.attachments import PREFIX, pictures
from literate.build import stale_half
from literate.compare import differences
from literate.errors import LiterateError
from literate.outputs import WIDGET, output_text
from literate.pairs import (
    Pair,
    all_pairs,
    cell_id,
    read_notebook,
    read_script,
    script_text,
    select_pairs,
    source_hash,
    tags,
)
from literate.parameters import parse_cell
from literate.project import Project, find_project
from literate.records import check_questions
from literate.run import run_notebook

LARGEST = 1.5 * 2**20  # bytes of one notebook with its outputs
LARGEST_SUM = 15 * 2**20  # bytes of all of them
KNOWN_TAGS = {"parameters", "timing"}
CELL_METADATA = {"tags", "literate"}
ADDRESS = re.compile(r"\bat 0x[0-9a-f]{6,}")


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser("python -m literate check", description="Check the pairs of notebooks.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="which notebooks, such as 00; all without a name")
    parser.add_argument("--run", action="store_true", help="run them as well and compare what they print")
    parser.add_argument("--root", help="the clone to work in")
    args = parser.parse_args(argv)
    project = find_project(args.root)
    pairs = select_pairs(project, args.names)
    found = [line for pair in pairs for line in check_pair(pair, project)]
    found += [] if args.names else check_all(project)
    if args.run and not found:
        found = [line for pair in pairs for line in check_run(pair, project)]
    for line in found:
        print(line)
    if found:
        raise LiterateError(f"Faults in notebooks: {len(found)}.")
    print(f"Notebooks in order: {len(pairs)}.")
    return 0


def check_pair(pair: Pair, project: Project) -> list[str]:
    """One line for each fault of the two halves of a notebook, naming the file and the cell."""
    for path in (pair.script, pair.notebook):
        if not path.exists():
            other = pair.script if path == pair.notebook else pair.notebook
            return [f"{path.name} is missing beside {other.name}"]
    try:
        script, notebook = read_script(pair.script), read_notebook(pair.notebook)
    except LiterateError as error:
        return [str(error)]
    stale = stale_half(script, notebook)
    if stale is not None:
        behind, ahead = (pair.script, pair.notebook) if stale == "script" else (pair.notebook, pair.script)
        return [f"{behind.name} is stale: it lacks edits of {ahead.name}"]
    faults = [
        *(
            []
            if script_text(script) == pair.script.read_text(encoding="utf-8")
            else ["JupyterLab would save it otherwise"]
        ),
        *_structure(notebook, pair.name),
    ]
    built = [
        *_metadata(notebook),
        *_outputs(notebook, project),
        *_pictures(notebook, project),
        *_size(pair.notebook),
    ]
    return [
        *(f"{pair.script.name}: {fault}" for fault in faults),
        *(f"{pair.notebook.name}: {fault}" for fault in built),
    ]


def check_all(project: Project) -> list[str]:
    """Faults of the notebooks together: their size, pictures of one name from two of them, answers to questions."""
    pairs = all_pairs(project)
    total = sum(pair.notebook.stat().st_size for pair in pairs if pair.notebook.exists())
    found = []
    if total > LARGEST_SUM:
        found.append(f"all notebooks together take {total / 2**20:.1f} MiB, more than {LARGEST_SUM / 2**20:g}")
    owners: dict[str, str] = {}
    for script in [pair.script for pair in pairs if pair.script.exists()]:
        names = {tag for cell in read_script(script).cells for tag in tags(cell) if tag.startswith(PREFIX)}
        found += [f"{script.name}: {owners[tag]} has a cell tagged {tag} too" for tag in sorted(names) if tag in owners]
        owners.update(dict.fromkeys(names, script.name))
    return found + check_questions(project)


def check_run(pair: Pair, project: Project) -> list[str]:
    """Run the notebook with its defaults; one line for each cell that prints other than what is committed."""
    fresh = run_notebook(project, pair.name, {}, cwd=project.notebooks)
    return [f"{pair.notebook.name}: {line}" for line in differences(read_notebook(pair.notebook), fresh)]


def _structure(notebook: NotebookNode, name: str) -> Iterator[str]:
    """One cell of plain parameters, then the check; tags that mean something."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    places = [place for place, cell in enumerate(code) if "parameters" in tags(cell)]
    if len(places) != 1:
        yield f"{len(places)} cells are tagged parameters, not one"
    else:
        try:
            parse_cell(code[places[0]].source, name)
        except LiterateError as error:
            yield str(error)
        following = code[places[0] + 1].source if places[0] + 1 < len(code) else ""
        if f'check_parameters("{name}", globals())' not in following:
            yield f'the code cell after the parameters must call check_parameters("{name}", globals())'
    for number, cell in enumerate(notebook.cells):
        for tag in tags(cell):
            if tag not in KNOWN_TAGS and not tag.startswith(PREFIX):
                yield f"cell {number} has the unknown tag {tag}"


def _metadata(notebook: NotebookNode) -> Iterator[str]:
    """Ids from position and content, no widget state, no times."""
    if "widgets" in notebook.metadata:
        yield "it holds widget state"
    for position, cell in enumerate(notebook.cells):
        if cell.get("id") != cell_id(position, cell):
            yield f"cell {position} has an id that building did not give"
        for name in sorted(set(cell.metadata) - CELL_METADATA):
            yield f"cell {position} has metadata {name}"


def _outputs(notebook: NotebookNode, project: Project) -> Iterator[str]:
    """Every code cell was run as it stands, in order, without an error, and shows nothing of one machine or one run."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    private = [str(path) for path in (project.root, Path.home()) if len(str(path)) > 1]
    for number, cell in enumerate(code, start=1):
        where = f"code cell {number}"
        if cell.execution_count != number:
            yield f"{where} has execution count {cell.execution_count}, not {number}"
        if cell.metadata.get("literate", {}).get("source_hash") != source_hash(cell.source):
            yield f"{where} was changed after it was run"
        for output in cell.outputs:
            text = output_text(output)
            if output.output_type == "error":
                yield f"{where} stopped with {output.ename}"
            if WIDGET in output.get("data", {}):
                yield f"{where} shows a widget, which is blank without a kernel"
            if ADDRESS.search(text):
                yield f"{where} prints an address in memory"
            if any(path in text for path in private):
                yield f"{where} prints a path of this machine"


def _pictures(notebook: NotebookNode, project: Project) -> Iterator[str]:
    try:
        for name, png in pictures(notebook).items():
            path = project.attachments / name
            if not path.exists() or path.read_bytes() != png:
                yield f"{project.short(path)} is not the picture of its cell"
    except LiterateError as error:
        yield str(error)


def _size(path: Path) -> Iterator[str]:
    size = path.stat().st_size
    if size > LARGEST:
        yield f"it takes {size / 2**20:.1f} MiB, more than {LARGEST / 2**20:g}"
