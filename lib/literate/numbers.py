"""Fill the numbers of README, vault and the cards in lib/ in from results/: `python -m literate numbers [--check]`.

A number stands between markers that no reader sees: `<!--n:evaluate:levels.easy.micro.auc_3-->0.61<!--/n-->`. Its key
is `file:path.to.value` with an optional format behind a bar, such as `evaluate:levels.easy.micro.auc_3|.2f` or `|%`.
`file` is results/file.json, its path goes through the record's `values` first; `table.csv:row.column` reads a cell.
In a table the bar is written \\|, since a plain one would begin a new cell. Markers in code are left alone.
"""

import argparse
import csv
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from literate.errors import LiterateError
from literate.project import Project, find_project
from microloftr.files import write_text

MARKER = re.compile(r"<!--\s*n:(?P<key>[^>]*?)\s*-->(?P<text>.*?)<!--\s*/n\s*-->", re.DOTALL)
OPENING = re.compile(r"<!--\s*n:")
CODE = re.compile(
    r"^[ >]*(?P<fence>```+|~~~+).*?^[ >]*(?P=fence)[`~]*[ ]*$|(?P<tick>`+)[^\n]*?(?P=tick)", re.DOTALL | re.MULTILINE
)
# Characters that Markdown, tables or Obsidian would take for markup; a _ within a word and a < before a space are not.
MARKUP = re.compile(r"(?P<tick>`+)(?:(?!(?P=tick)).)+(?P=tick)|[\\*|$~\[\]]|(?<!\w)_|_(?!\w)|<(?=[a-zA-Z/!?])")


@dataclass(frozen=True)
class Filled:
    """A text with its numbers filled in, and one line for each number that was stale or has no source."""

    text: str
    stale: list[str]
    missing: list[str]


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser("python -m literate numbers", description="Fill numbers in from results/.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a number is stale or missing")
    parser.add_argument("--root", help="the clone to work in")
    args = parser.parse_args(argv)
    project = find_project(args.root)
    stale, missing = fill_all(project, write=not args.check)
    faults = [*missing, *(stale if args.check else [])]
    for line in faults:
        print(line)
    if faults:
        raise LiterateError(f"Numbers without a source: {len(missing)}, stale: {len(faults) - len(missing)}.")
    print(f"Numbers filled in: {len(stale)}.")
    return 0


def texts(project: Project) -> list[Path]:
    """README, the cards and licences in lib/ and the notes of the vault, in order; templates hold examples only."""
    folders = [project.root / "lib", project.vault]
    notes = (path for folder in folders for path in sorted(folder.rglob("*.md")) if ".obsidian" not in path.parts)
    templates = project.vault / "templates"
    return [path for path in [project.readme, *notes] if path.is_file() and templates not in path.parents]


def fill_all(project: Project, *, write: bool) -> tuple[list[str], list[str]]:
    """Fill every text of the project, and write those that changed where asked; returns stale and missing lines."""
    stale: list[str] = []
    missing: list[str] = []
    for path in texts(project):
        before = path.read_text(encoding="utf-8")
        filled = fill(before, project.results, project.short(path))
        if write and filled.text != before:
            write_text(path, filled.text)
        stale += filled.stale
        missing += filled.missing
    return stale, missing


def fill(text: str, results: Path, name: str) -> Filled:
    """`text` with each number looked up under `results`; one without a source stays as it is and is reported."""
    stale: list[str] = []
    missing: list[str] = []
    code = [match.span() for match in CODE.finditer(text)]

    def line(place: int) -> str:
        return f"{name}:{text.count(chr(10), 0, place) + 1}"

    def in_code(place: int) -> bool:
        return any(start <= place < end for start, end in code)

    def replace(match: re.Match) -> str:
        if in_code(match.start()):
            return match.group()
        before, key = match["text"], match["key"].replace(r"\|", "|")
        row = text[text.rfind("\n", 0, match.start()) + 1 : match.end("key")]
        if row.lstrip().startswith("|") and re.search(r"(?<!\\)\|", match["key"]):
            missing.append(f"{line(match.start())}: the | of n:{key} would split its cell of the table; write \\|")
            return match.group()
        if OPENING.search(before):
            missing.append(f"{line(match.start())}: the marker n:{key} is not closed by <!--/n-->")
            return match.group()
        try:
            now = look_up(key, results)
        except LiterateError as error:
            missing.append(f"{line(match.start())}: {error}")
            return match.group()
        if now != before:
            stale.append(f"{line(match.start())}: n:{key} says '{before}', its source {now}")
        start, end = match.span("text")
        return text[match.start() : start] + now + text[end : match.end()]

    filled = MARKER.sub(replace, text)
    whole = [match.span() for match in MARKER.finditer(text)]
    for match in OPENING.finditer(text):
        if not in_code(match.start()) and not any(start <= match.start() < end for start, end in whole):
            missing.append(f"{line(match.start())}: a marker n: has no key, or is not closed by <!--/n-->")
    return Filled(filled, stale, missing)


def look_up(key: str, results: Path) -> str:
    """The text that belongs between the markers of `key`. Raises LiterateError when there is none."""
    path, _, style = key.partition("|")
    file, colon, dotted = path.partition(":")
    if not colon or not file or not dotted:
        raise LiterateError(f"the key n:{key} must read file:path.to.value")
    record = _table(results / file, key) if file.endswith(".csv") else _record(results / f"{file}.json", key)
    parts = dotted.split(".")
    values = record.get("values") if isinstance(record, dict) else None
    for root in [values, record]:
        found = _descend(root, parts)
        if found:
            value = found[0]
            return escape(value, key) if isinstance(value, str) and not style else show(value, style, key)
    raise LiterateError(f"results/{file} has no value {dotted}")


def escape(text: str, key: str) -> str:
    """A text that reads in Markdown as it stands: what would be markup gets a backslash, but for code in backticks.

    Raises LiterateError for a text that would close its marker.
    """
    if "<!--" in text or "-->" in text:
        raise LiterateError(f"the text of n:{key} holds a comment, which cannot stand between markers")
    return MARKUP.sub(lambda match: match.group() if match["tick"] else "\\" + match.group(), " ".join(text.split()))


def show(value: Any, style: str, key: str) -> str:
    """A value as a reader wants it: three digits unless `style`, a Python format, says else (`%`: whole per cent)."""
    if value is None:
        return "–"
    if isinstance(value, list):
        return " × ".join(show(item, style, key) for item in value)
    if isinstance(value, dict):
        raise LiterateError(f"the key n:{key} names a group of values, not one value")
    if style:
        try:
            return format(value, ".0%" if style == "%" else style)
        except (ValueError, TypeError):
            raise LiterateError(f"the format |{style} of n:{key} does not fit the value {value!r}") from None
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return str(value)


def _descend(node: Any, parts: list[str]) -> list[Any]:
    """The value at a dotted path as a list of one, empty when there is none; names may hold dots themselves."""
    if not parts:
        return [node]
    for size in range(1, len(parts) + 1):
        name = ".".join(parts[:size])
        if isinstance(node, dict) and name in node:
            found = _descend(node[name], parts[size:])
            if found:
                return found
    if isinstance(node, list) and re.fullmatch(r"-?\d+", parts[0]) and -len(node) <= int(parts[0]) < len(node):
        return _descend(node[int(parts[0])], parts[1:])
    return []


def _record(path: Path, key: str) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LiterateError(f"n:{key} has no source: there is no results/{path.name}") from None
    except json.JSONDecodeError as error:
        raise LiterateError(f"results/{path.name} is no JSON: {error}") from None


def _table(path: Path, key: str) -> dict[str, dict[str, Any]]:
    """Rows by the text of their first column; numbers as numbers."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    except FileNotFoundError:
        raise LiterateError(f"n:{key} has no source: there is no results/{path.name}") from None
    return {next(iter(row.values())): {name: _number(text) for name, text in row.items()} for row in rows}


def _number(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
