"""Run one notebook with parameters of one's own: `python -m literate run NAME -p name=value … [--output FILE]`."""

import argparse
import sys
from pathlib import Path
from typing import Any

from literate.errors import NotebookFailed
from literate.parameters import FOLDER_VARIABLE, parse_assignments, read_parameters
from literate.project import Project, find_project
from microloftr.files import write_text


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser("python -m literate run", description="Run a notebook with parameters.")
    parser.add_argument("name", help="which notebook, such as 09_evaluation or 09")
    parser.add_argument("-p", action="append", default=[], metavar="NAME=VALUE", help="a parameter; may be repeated")
    parser.add_argument("--output", metavar="FILE", help="the executed notebook; runs/notebooks/NAME.ipynb by default")
    parser.add_argument("--root", help="the clone to work in")
    args = parser.parse_args(argv)

    from literate.pairs import notebook_text, select_pairs  # jupytext takes seconds; not for a look at --help

    project = find_project(args.root)
    (pair,) = select_pairs(project, [args.name])
    output = Path(args.output) if args.output else project.root / "runs" / "notebooks" / pair.notebook.name
    values = parse_assignments(args.p, read_parameters(pair.name, project.notebooks), pair.name)
    executed = run_notebook(project, pair.name, values, cwd=Path.cwd())
    write_text(output, notebook_text(executed))
    print(f"Executed notebook: {project.short(output)}")
    return 0


def run_notebook(project: Project, name: str, values: dict[str, Any], *, cwd: Path):
    """Notebook `name` executed with checked `values` in folder `cwd`; the script is the source, so it cannot be stale.

    Raises NotebookFailed, naming the notebook, when a cell stops.
    """
    from literate.kernel import execute
    from literate.pairs import read_script

    environment = {FOLDER_VARIABLE: str(project.notebooks)}
    notebook = read_script(project.notebooks / f"{name}.py")
    try:
        executed = execute(notebook, cwd=cwd, parameters=values, environment=environment, progress=sys.stderr.isatty())
    except NotebookFailed as error:
        raise error if error.status == 2 else NotebookFailed(f"{name}: {error}", error.status) from None
    del executed.metadata["jupytext"]  # a result is no half of a pair
    return executed
