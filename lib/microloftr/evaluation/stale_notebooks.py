"""Which notebooks, and so which figures and answers, show records that have changed since, and which numbers in prose.

A built notebook holds in its metadata the hash of every file of results/ that its cells read. It is read here as the
JSON that it is: this package does not know what builds notebooks. Numbers in prose are judged by the command that
fills them in, where it is installed.
"""

import hashlib
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

FIGURE = "figure:"  # the tag of a cell whose picture stands in the vault


def stale_notebooks(root: Path) -> tuple[list[str], list[str]]:
    """A line for each notebook that shows older records than those in results/; names of those that do not tell."""
    stale, silent = [], []
    for path in sorted((root / "notebooks").glob("*.ipynb")):
        notebook = json.loads(path.read_text(encoding="utf-8"))
        told = notebook.get("metadata", {}).get("literate", {}).get("read")
        if told is None:
            silent.append(path.stem)
            continue
        changed = [name for name, digest in told.items() if _digest(root / name) != digest]
        if changed:
            shown = [f"{name}.png" for name in figures(notebook)] + answers(root, path.stem)
            follow = f", and with it {', '.join(shown)}" if shown else ""
            stale.append(
                f"notebooks/{path.name}{follow}: {', '.join(changed)} changed since it was built. "
                f"Again: python -m literate build {path.stem}"
            )
    return stale, silent


def figures(notebook: dict[str, Any]) -> list[str]:
    """Names of the pictures that a notebook leaves in the vault."""
    tags = [tag for cell in notebook.get("cells", []) for tag in cell.get("metadata", {}).get("tags", [])]
    return [tag.removeprefix(FIGURE) for tag in tags if tag.startswith(FIGURE)]


def answers(root: Path, name: str) -> list[str]:
    """Ids of the questions that notebook `name` answers."""
    records = sorted((root / "results" / "questions").glob("Q*.json"))
    made = [(path.stem, json.loads(path.read_text(encoding="utf-8")).get("command", "")) for path in records]
    return [number for number, command in made if command.split()[-1:] == [name]]


def stale_numbers(root: Path) -> list[str]:
    """What `python -m literate numbers --check` says of the numbers in README and notes; nothing without notebooks/."""
    if not (root / "notebooks").is_dir() or importlib.util.find_spec("literate") is None:
        return []
    command = [sys.executable, "-m", "literate", "numbers", "--check", "--root", str(root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.splitlines() if done.returncode else []


def _digest(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16] if path.is_file() else None
