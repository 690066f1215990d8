"""Figures of the vault come from notebooks: a cell tagged `figure:NAME` gives `docs_obsidian/attachments/NAME.png`.

Only building writes them, so that tests and runs of one's own leave the vault alone.
"""

import re

from nbformat import NotebookNode

from literate.errors import LiterateError
from literate.outputs import output_png
from literate.pairs import tags
from literate.project import Project
from microloftr.files import atomic_write

PREFIX = "figure:"


def pictures(notebook: NotebookNode) -> dict[str, bytes]:
    """File name → PNG for each cell tagged `figure:NAME`.

    Raises LiterateError for a name with other than letters, digits, `_` and `-`, a name used twice, and a tagged cell
    that shows no picture or several.
    """
    found: dict[str, bytes] = {}
    for cell in notebook.cells:
        for tag in tags(cell):
            if not tag.startswith(PREFIX):
                continue
            name = tag.removeprefix(PREFIX)
            shown = [png for output in cell.get("outputs", []) if (png := output_png(output))]
            if not re.fullmatch(r"[\w-]+", name) or f"{name}.png" in found:
                raise LiterateError(f"The tag {tag} needs a name of its own of letters, digits, _ and -.")
            if len(shown) != 1:
                raise LiterateError(f"The cell tagged {tag} shows {len(shown)} pictures; it must show exactly one.")
            found[f"{name}.png"] = shown[0]
    return found


def write_attachments(notebook: NotebookNode, project: Project) -> list[str]:
    """Write the tagged pictures that changed; returns their names."""
    written = []
    for name, png in pictures(notebook).items():
        path = project.attachments / name
        if not path.exists() or path.read_bytes() != png:
            with atomic_write(path) as temporary:
                temporary.write_bytes(png)
            written.append(name)
    return written
