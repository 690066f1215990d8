"""Which files of results/ a notebook reads: told by its kernel, kept in its metadata with their hashes.

A build starts the kernel with two variables: the folder that is watched, and a file that takes one line for each file
of it that is opened for reading, by whatever function. So a notebook says itself which records it shows, and
`python -m microloftr report` tells when one of them has changed since.
"""

import hashlib
import os
import sys
from pathlib import Path
from typing import Any

from literate.project import Project

WATCHED_VARIABLE, LOG_VARIABLE = "LITERATE_WATCHED", "LITERATE_READS"
START = "__import__('literate.reads') and None"  # a line that the kernel runs before any cell
WRITING = os.O_WRONLY | os.O_RDWR


def environment(project: Project, log: Path) -> dict[str, str]:
    """What a kernel must know to tell what it reads of results/."""
    return {WATCHED_VARIABLE: str(project.results), LOG_VARIABLE: str(log)}


def reads(project: Project, log: Path) -> dict[str, str]:
    """File of results/ (relative to the root, in order) → its hash, for those that the log names and that are there."""
    names = set(log.read_text(encoding="utf-8").splitlines()) if log.is_file() else set()
    paths = {name: project.results / name for name in sorted(names)}
    return {project.short(path): digest(path) for path in paths.values() if path.is_file()}


def digest(path: Path) -> str:
    """The hash that stands in a notebook's metadata."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def watch(folder: str, log: str) -> None:
    """From now on append to `log`, once, the name of every file below `folder` that this process opens for reading."""
    roots = {os.path.abspath(folder), os.path.realpath(folder)}
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    seen: set[str] = set()

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event != "open" or not isinstance(arguments[0], str | os.PathLike):
            return
        if isinstance(arguments[2], int) and arguments[2] & WRITING:
            return
        path = os.path.abspath(os.fspath(arguments[0]))
        for root in roots:
            if isinstance(path, str) and path.startswith(root + os.sep) and path not in seen:
                seen.add(path)
                os.write(out, f"{os.path.relpath(path, root)}\n".encode())

    sys.addaudithook(hook)


if os.environ.get(WATCHED_VARIABLE) and os.environ.get(LOG_VARIABLE):
    watch(os.environ[WATCHED_VARIABLE], os.environ[LOG_VARIABLE])
