"""Do links, names and front matter of the vault hold? `python -m literate vault [--check]` fills numbers and checks.

With --check nothing is written: a stale number is then a fault like any other.
"""

import argparse
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import yaml

from literate.errors import LiterateError
from literate.numbers import CODE, fill_all
from literate.project import find_project

FORBIDDEN = re.compile(r"[#|^:]|%%|\[\[|\]\]")
WIKILINK = re.compile(r"!?\[\[([^\]\n]+)\]\]")
MARKDOWN_LINK = re.compile(r"\]\(<?((?![a-z][a-z0-9+.-]*:|#)[^)<>\s]+)>?(?:\s+\"[^\"]*\")?\)", re.IGNORECASE)
FRONT_MATTER = re.compile(r"\A---\n(.*?)^---\s*$\n?", re.DOTALL | re.MULTILINE)
HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*$", re.MULTILINE)
NO_SENTENCE = re.compile(r"[-*+]\s|\d+[.)]\s|[>|]|!\[|```|~~~|\$\$|<\w")  # list, quote, table, picture, code, maths
COMMENT = re.compile(r"<!--.*?-->|%%.*?%%", re.DOTALL)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser("python -m literate vault", description="Fill and check the vault.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a number is stale")
    parser.add_argument("--root", help="the clone to work in")
    args = parser.parse_args(argv)
    from literate.records import check_questions  # jupytext takes seconds; not for a look at --help

    project = find_project(args.root)
    stale, missing = fill_all(project, write=not args.check)
    found = [*missing, *(stale if args.check else []), *check_vault(project.vault)]
    found += check_questions(project, sentences=False)  # a note that says otherwise is stale already
    for line in found:
        print(line)
    if found:
        raise LiterateError(f"Faults in the vault: {len(found)}.")
    print(f"Notes in order: {len(_notes(project.vault))}.")
    return 0


def check_vault(vault: Path) -> list[str]:
    """One line for each fault: names, front matter, first sentences, links. An empty vault is a fault too."""
    notes = _notes(vault)
    if not notes:
        return [f"{vault.name} holds no notes"]
    return [*_names(vault), *_front_matters(vault, notes), *_first_sentences(vault, notes), *_links(vault, notes)]


def first_sentence(text: str) -> str:
    """The first sentence below front matter and headings; empty when a list, table or picture comes first."""
    body = COMMENT.sub("", FRONT_MATTER.sub("", text))
    for block in re.split(r"\n\s*\n", body):
        lines = [line for line in block.strip().splitlines() if not HEADING.fullmatch(line.strip())]
        if lines:
            opening = lines[0].strip()
            plain = not NO_SENTENCE.match(opening)
            paragraph = " ".join(line.strip() for line in lines) if plain else ""
            return re.split(r"(?<=[.!?])\s", paragraph)[0] if re.search(r"\w", paragraph) else ""
    return ""


def _notes(vault: Path) -> list[Path]:
    return [path for path in _files(vault) if path.suffix == ".md"]


def _files(vault: Path) -> list[Path]:
    """Every file of the vault but those of the application."""
    hidden = (path for path in sorted(vault.rglob("*")) if path.is_file())
    return [path for path in hidden if not any(part.startswith(".") for part in path.relative_to(vault).parts)]


def _names(vault: Path) -> Iterator[str]:
    owners: dict[str, Path] = {}
    for path in _files(vault):
        name = path.relative_to(vault).as_posix()
        if FORBIDDEN.search(name):
            yield f"{name}: a name may not hold any of # | ^ : %% [[ ]]"
        base = path.stem.lower() if path.suffix == ".md" else path.name.lower()
        if base in owners:
            yield f"{name}: {owners[base].relative_to(vault).as_posix()} has the same name"
        owners[base] = path


def _front_matters(vault: Path, notes: list[Path]) -> Iterator[str]:
    """Flat keys, each of one type in all notes, since Obsidian's editor knows no other."""
    kinds: dict[str, dict[str, str]] = defaultdict(dict)
    for path in notes:
        name = path.relative_to(vault).as_posix()
        match = FRONT_MATTER.match(path.read_text(encoding="utf-8"))
        try:
            front = yaml.safe_load(match.group(1)) if match else {}
        except yaml.YAMLError as error:
            yield f"{name}: its front matter is no YAML: {str(error).splitlines()[0]}"
            continue
        if not isinstance(front or {}, dict):
            yield f"{name}: its front matter must be lines of key: value"
            continue
        for key, value in (front or {}).items():
            items = value if isinstance(value, list) else [value]
            if any(isinstance(item, dict | list) for item in items):
                yield f"{name}: the front matter key {key} is nested; it must be flat"
            elif value is not None:
                kinds[key].setdefault(type(value).__name__, name)
    for key, by_type in kinds.items():
        if len(by_type) > 1:
            places = ", ".join(f"{kind} in {name}" for kind, name in by_type.items())
            yield f"the front matter key {key} has several types: {places}"


def _first_sentences(vault: Path, notes: list[Path]) -> Iterator[str]:
    for path in notes:
        if path.relative_to(vault).parts[0] != "templates" and not first_sentence(path.read_text(encoding="utf-8")):
            yield f"{path.relative_to(vault).as_posix()}: it does not begin with a sentence"


def _links(vault: Path, notes: list[Path]) -> Iterator[str]:
    """Wikilinks, embeds and relative Markdown links lead to files; wikilinks with # to headings."""
    targets: dict[str, Path] = {}
    for path in _files(vault):
        relative = path.relative_to(vault)
        for name in (path.name, relative.as_posix()):
            targets[name.lower()] = path
            targets[name.lower().removesuffix(".md")] = path
    for path in notes:
        if path.relative_to(vault).parts[0] == "templates":
            continue
        name = path.relative_to(vault).as_posix()
        text = CODE.sub("", COMMENT.sub("", path.read_text(encoding="utf-8")))
        for link in WIKILINK.findall(text):
            target, _, heading = link.replace("\\|", "|").split("|")[0].partition("#")
            found = targets.get(target.strip().lower()) if target.strip() else path
            if found is None:
                yield f"{name}: the link [[{link}]] leads nowhere"
            elif heading and not heading.startswith("^") and heading.split("#")[-1].strip() not in _headings(found):
                yield f"{name}: the link [[{link}]] names a heading that is not there"
        for link in MARKDOWN_LINK.findall(text):
            if not (path.parent / unquote(link.partition("#")[0])).exists():
                yield f"{name}: the link ({link}) leads nowhere"


def _headings(path: Path) -> set[str]:
    if path.suffix != ".md":
        return set()
    return {heading.strip() for heading in HEADING.findall(COMMENT.sub("", path.read_text(encoding="utf-8")))}
