"""Build the notebooks from their scripts: `python -m literate build [NAME …] [--no-run] [--take script|notebook]`.

Two builds of one script are byte-identical but for the outputs of cells tagged `timing`.
"""

import argparse
import time
from collections import defaultdict, deque
from collections.abc import Callable

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
    """Bring the notebook of `pair` up to date with its script and, unless told otherwise, run it and its attachments.

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
        try:
            fresh = execute(fresh, cwd=project.notebooks, environment={FOLDER_VARIABLE: str(project.notebooks)})
        except NotebookFailed as error:
            raise NotebookFailed(f"{pair.name}: {error}", error.status) from None
        pictures(fresh)  # a figure cell without its one picture is told before anything is written
    elif pair.notebook.exists():
        fresh = keep_outputs(fresh, read_notebook(pair.notebook))
    write_if_changed(pair.script, script_text(fresh))
    changed = write_if_changed(pair.notebook, notebook_text(fresh))
    figures = write_attachments(fresh, project) if run else []
    seconds = f" in {time.perf_counter() - started:.0f} s" if run else ""
    say(f"{pair.name}: {'built' if changed else 'unchanged'}{seconds}{''.join(f', {name}' for name in figures)}")


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
    return tidy(fresh)


def _without_outputs(notebook: NotebookNode) -> NotebookNode:
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
            cell.metadata.pop("literate", None)
    return notebook
