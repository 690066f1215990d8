"""Build the notebooks from their scripts: `python -m literate build [NAME …] [--no-run] [--take script|notebook]`.

Two builds of one script are byte-identical but for the outputs of cells tagged `timing`. A built notebook holds the
hashes of the records of results/ that its cells read (reads.py).
"""

import argparse
import json
import time
from collections import defaultdict, deque
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from nbformat import NotebookNode

from literate.attachments import pictures, write_attachments
from literate.errors import LiterateError, NotebookFailed
from literate.kernel import execute
from literate.pairs import (
    Pair,
    contents,
    notebook_text,
    read_notebook,
    read_script,
    script_text,
    select_pairs,
    source_hash,
    tidy,
    write_if_changed,
)
from literate.parameters import FOLDER_VARIABLE
from literate.project import Project, find_project
from literate.questions import RECORDS_VARIABLE
from literate.reads import environment as watched
from literate.reads import reads
from literate.records import write_records


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser("python -m literate build", description="Build notebooks from their scripts.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="which notebooks, such as 00; all without a name")
    parser.add_argument("--no-run", action="store_true", help="only bring the cells up to date; keep valid outputs")
    parser.add_argument("--take", choices=["script", "notebook"], help="which half is right where the two differ")
    parser.add_argument("--root", help="the clone to work in")
    args = parser.parse_args(argv)
    project = find_project(args.root)
    for pair in select_pairs(project, args.names):
        build(pair, project, run=not args.no_run, take=args.take, say=print)
    return 0


def build(
    pair: Pair,
    project: Project,
    *,
    run: bool = True,
    take: str | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> None:
    """Bring the notebook of `pair` up to date with its script and, unless told otherwise, run it.

    A run also writes its pictures for the vault and the records of the questions it answers.
    The script is written back as JupyterLab would write it. Raises LiterateError when the notebook holds edits that the
    script lacks and `take` does not say which half is right, NotebookFailed when a cell stops; then nothing is written.
    """
    started = time.perf_counter()
    if take == "notebook":
        fresh = tidy(_without_outputs(read_notebook(pair.notebook)))
    else:
        fresh = read_script(pair.script)
        if take is None and pair.notebook.exists() and stale_half(fresh, read_notebook(pair.notebook)) == "script":
            raise LiterateError(
                f"{pair.notebook.name} was edited and {pair.script.name} lacks the edits; "
                f"build with --take notebook to keep them, or --take script to drop them."
            )
    if run:
        fresh, answers = _run(fresh, pair, project)
        pictures(fresh)  # a figure cell without its one picture is told before anything is written
    elif pair.notebook.exists():
        fresh = keep_outputs(fresh, read_notebook(pair.notebook))
    write_if_changed(pair.script, script_text(fresh))
    changed = write_if_changed(pair.notebook, notebook_text(fresh))
    figures = write_attachments(fresh, project) + write_records(answers, pair.name, fresh, project) if run else []
    seconds = f" in {time.perf_counter() - started:.0f} s" if run else ""
    say(f"{pair.name}: {'built' if changed else 'unchanged'}{seconds}{''.join(f', {name}' for name in figures)}")


def _run(notebook: NotebookNode, pair: Pair, project: Project) -> tuple[NotebookNode, list[dict[str, Any]]]:
    """The executed notebook, and the records that its answers left."""
    with TemporaryDirectory(prefix="records.") as folder:
        log = Path(folder) / "reads.txt"
        environment = {FOLDER_VARIABLE: str(project.notebooks), RECORDS_VARIABLE: folder, **watched(project, log)}
        try:
            executed = execute(notebook, cwd=project.notebooks, environment=environment)
        except NotebookFailed as error:
            raise NotebookFailed(f"{pair.name}: {error}", error.status) from None
        executed.metadata["literate"] = {"read": reads(project, log)}
        return executed, [json.loads(path.read_text(encoding="utf-8")) for path in sorted(Path(folder).glob("Q*.json"))]


def stale_half(from_script: NotebookNode, notebook: NotebookNode) -> str | None:
    """Which half lacks the other's edits: "notebook", "script", or None when both hold the same cells.

    Times say nothing after a checkout. But a notebook that was built carries ids made from its content, so one
    whose ids do not fit was edited after its last build, and the script is what stayed behind.
    """
    if contents(from_script) == contents(notebook):
        return None
    built = tidy(notebook)
    as_built = [cell.get("id") for cell in notebook.cells] == [cell.id for cell in built.cells]
    return "notebook" if as_built else "script"


def keep_outputs(fresh: NotebookNode, old: NotebookNode) -> NotebookNode:
    """`fresh` with the outputs of the cells of `old` whose source is still the same."""
    known: dict[str, deque[NotebookNode]] = defaultdict(deque)
    for cell in old.cells:
        stored = cell.metadata.get("literate", {}).get("source_hash")
        if cell.cell_type == "code" and stored == source_hash(cell.source):
            known[stored].append(cell)
    for cell in fresh.cells:
        if cell.cell_type == "code" and known[source_hash(cell.source)]:
            match = known[source_hash(cell.source)].popleft()
            cell.outputs, cell.execution_count = match.outputs, match.execution_count
            cell.metadata["literate"] = match.metadata["literate"]
    if "literate" in old.metadata:
        fresh.metadata["literate"] = old.metadata["literate"]  # the outputs are of that run
    return tidy(fresh)


def _without_outputs(notebook: NotebookNode) -> NotebookNode:
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
            cell.metadata.pop("literate", None)
    return notebook
