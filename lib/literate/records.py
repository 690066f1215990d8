"""Records of answered questions: building writes results/questions/Qnn.json, and a check holds notes to them.

A note in docs_obsidian/questions/ names its question and its notebook in the front matter and begins with the marker
that the record fills. The record names the command that made it and a hash of the notebook's code, and so can be stale.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from nbformat import NotebookNode

from literate.constants import answers, constants
from literate.errors import LiterateError
from literate.numbers import MARKER, look_up
from literate.pairs import read_script, source_hash, write_if_changed
from literate.project import Project
from literate.questions import ID, record_fault
from literate.vault import FRONT_MATTER

KEYS = ["id", "answer", "value", "unit", "interval", "n", "command", "more", "source"]
INDEX = "questions.md"  # the note that lists the others


@dataclass(frozen=True)
class Note:
    """A note on one question: its id, and the notebook that answers it, None where no notebook does."""

    path: Path
    id: str
    notebook: str | None


def code_hash(notebook: NotebookNode) -> str:
    """The hash of all code cells; text between them may change without making an answer stale."""
    return source_hash("\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code"))


def command(name: str) -> str:
    """The command that makes the records of notebook `name`."""
    return f"python -m literate build {name}"


def write_records(answers: list[dict[str, Any]], name: str, notebook: NotebookNode, project: Project) -> list[str]:
    """Complete the answers of notebook `name`, and write the records that changed; returns their ids."""
    written = []
    for given in answers:
        record = {**given, "command": command(name), "source": code_hash(notebook)}
        text = json.dumps({key: record[key] for key in KEYS}, indent=2, ensure_ascii=False) + "\n"
        if write_if_changed(project.questions / f"{record['id']}.json", text):
            written.append(record["id"])
    return written


def check_questions(project: Project, *, sentences: bool = True) -> list[str]:
    """One line for each note, record or answering cell that is missing, stale, malformed or constant.

    Without `sentences` the text of a note is not compared with its record, for callers that look at every number.
    """
    notes, found = _read_notes(project)
    for note in notes.values():
        found += _check_note(note, project, sentences)
    for path in sorted(project.questions.glob("*")):
        if path.stem not in notes:
            found.append(f"results/questions/{path.name} has no note in {project.short(project.vault / 'questions')}")
        elif notes[path.stem].notebook is None:
            found.append(f"results/questions/{path.name} exists, but {notes[path.stem].path.name} names no notebook")
    return found


def _read_notes(project: Project) -> tuple[dict[str, Note], list[str]]:
    """The notes on questions by id, and one line for each that cannot be one."""
    folder = project.vault / "questions"
    notes: dict[str, Note] = {}
    found = []
    index = (folder / INDEX).read_text(encoding="utf-8") if (folder / INDEX).exists() else ""
    for path in sorted(folder.glob("*.md")):
        if path.name == INDEX:
            continue
        name = project.short(path)
        match = FRONT_MATTER.match(path.read_text(encoding="utf-8"))
        try:
            front = yaml.safe_load(match.group(1)) if match else None
        except yaml.YAMLError:
            front = None
        front = front if isinstance(front, dict) else {}
        id, notebook = front.get("id"), front.get("notebook")
        if not isinstance(id, str) or not ID.fullmatch(id) or not path.name.startswith(f"{id}-"):
            found.append(f"{name}: its front matter must name the id that its file name begins with, such as id: Q07")
        elif notebook is not None and not isinstance(notebook, str):
            found.append(f"{name}: its front matter must name the whole notebook, such as notebook: 03_attention")
        elif id in notes:
            found.append(f"{name}: {notes[id].path.name} is a note on {id} too")
        else:
            notes[id] = Note(path, id, notebook)
        if path.name not in index and f"[[{path.stem}" not in index:
            found.append(f"{name}: {project.short(folder / INDEX)} does not link to it")
    return notes, found


def _check_note(note: Note, project: Project, sentences: bool) -> Iterator[str]:
    """Faults of one note, its record and the cell that writes it; the first that makes others follow ends the list."""
    if note.notebook is None:
        return
    name, where = project.short(note.path), f"results/questions/{note.id}.json"
    script = project.notebooks / f"{note.notebook}.py"
    if not script.exists():
        yield f"{name}: there is no notebook {note.notebook}"
        return
    try:
        notebook = read_script(script)
    except LiterateError as error:
        yield str(error)
        return
    yield from _check_cell(note.id, notebook, script.name)
    path = project.questions / f"{note.id}.json"
    if not path.exists():
        yield f"{where} is missing; make it with: {command(note.notebook)}"
        return
    record, fault = _read_record(path)
    if fault:
        yield f"{where} is malformed: {fault}"
        return
    if record["command"] != command(note.notebook):
        yield f"{where} was made by `{record['command']}`, but {note.path.name} names notebook {note.notebook}"
    elif record["source"] != code_hash(notebook):
        yield f"{where} is stale: the code of {script.name} was changed; make it with: {command(note.notebook)}"
    key = f"questions/{note.id}:answer"
    match = MARKER.match(_body(note.path.read_text(encoding="utf-8")))
    if not match or match["key"] != key:
        yield f"{name}: below its title it must begin with <!--n:{key}-->…<!--/n-->"
    elif sentences and match["text"] != look_up(key, project.results):
        yield f"{name}: it says other than {where}; fill it in by: python -m literate vault"


def _check_cell(id: str, notebook: NotebookNode, name: str) -> Iterator[str]:
    """The notebook answers the question once, with values that it measured."""
    source = "\n\n".join(
        re.sub(r"^\s*[%!].*$", "", c.source, flags=re.M) for c in notebook.cells if c.cell_type == "code"
    )
    try:
        calls = answers(source).get(id, [])
    except SyntaxError as error:
        yield f"{name}: its code is no Python: {error.msg}"
        return
    if len(calls) != 1:
        yield f'{name}: it has {len(calls)} calls answer("{id}", …), not one'
    for call in calls:
        yield from (f"{name}: the answer to {id} is constant: {part} is typed in" for part in constants(call, source))


def _read_record(path: Path) -> tuple[dict[str, Any], str | None]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
    except ValueError as error:
        return {}, f"it is no JSON: {error}"
    if not isinstance(record, dict) or list(record) != KEYS:
        return {}, f"it must have the keys {', '.join(KEYS)}"
    if record["id"] != path.stem:
        return {}, f"it is about {record['id']}"
    return record, record_fault(record)


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no number")


def _body(text: str) -> str:
    """A note below its front matter and title."""
    return re.sub(r"\A\s*# [^\n]*\n", "", FRONT_MATTER.sub("", text)).lstrip()
