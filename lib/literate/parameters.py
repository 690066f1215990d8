"""The parameters of a notebook: what its `parameters` cell offers, and whether what was given fits.

papermill injects whatever it is given, silently. So the command line checks before a kernel starts, and the cell after
the parameters calls `check_parameters(NAME, globals())`, which refuses the same faults under plain papermill.
This module runs inside kernels: it imports nothing slow.
"""

import ast
import difflib
import math
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from literate.errors import LiterateError
from literate.project import find_project
from microloftr.errors import ParameterError

TYPES = {"int": int, "float": float, "bool": bool, "str": str, "list": list}
EXAMPLES = {"int": "3", "float": "0.5", "bool": "True", "str": "'text'", "list": "[1, 2]"}
WORDS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
FOLDER_VARIABLE = "LITERATE_NOTEBOOKS"  # where a kernel finds the sources when they are not those of the package


@dataclass(frozen=True)
class Parameter:
    """One name of the parameters cell: its default, its type and whether None is allowed as well."""

    name: str
    default: Any
    kind: str
    item: str | None = None
    optional: bool = False

    def expected(self) -> str:
        """The type in words with an example, for messages."""
        article = "an" if self.kind == "int" else "a"
        kind = f"{self.kind} of {self.item}" if self.item else self.kind
        example = EXAMPLES[self.kind] if self.default is None else repr(self.default)
        return f"{article} {kind}{' or None' if self.optional else ''} such as {example}"

    def check(self, value: Any) -> Any:
        """`value`, an int made a float where a float is expected. Raises ParameterError when it does not fit."""
        if value is None and self.optional:
            return None
        try:
            if self.kind == "list" and isinstance(value, list):
                return [_fit(item, self.item) for item in value]
            return _fit(value, self.kind)
        except TypeError:
            given = f"{type(value).__name__} {value!r}" if value is not None else "None"
            raise ParameterError(f"Parameter {self.name} must be {self.expected()}, not the {given}.") from None

    def parse(self, text: str) -> Any:
        """The value that `text` of the command line means. Raises ParameterError when it means none of this type."""
        try:
            if self.optional and text.strip().lower() in {"none", "null", ""}:
                return None
            if self.kind == "list":
                return self.check(_parse_list(text, self.item))
            return self.check(_parse(text, self.kind))
        except ValueError:
            raise ParameterError(f"Parameter {self.name} must be {self.expected()}, not '{text}'.") from None


def read_parameters(name: str, folder: Path | None = None) -> dict[str, Parameter]:
    """The parameters of notebook `name` from its script in `folder` (the notebooks of the project by default)."""
    path = _script(name, folder)
    return parse_cell(parameters_cell(path.read_text(encoding="utf-8"), name), name)


def parameters_cell(script: str, name: str) -> str:
    """The source of the one cell tagged `parameters` in a percent script."""
    cells = re.split(r"^# %%", script, flags=re.MULTILINE)[1:]
    heads_and_bodies = [cell.partition("\n")[::2] for cell in cells]
    found = [body for head, body in heads_and_bodies if re.search(r'tags=\[[^\]]*"parameters"', head)]
    if len(found) != 1:
        raise LiterateError(f"Notebook {name} has {len(found)} cells tagged parameters; it must have exactly one.")
    return found[0]


def parse_cell(source: str, name: str) -> dict[str, Parameter]:
    """The parameters that a cell of plain assignments defines; `x: float | None = None` for one that may be left open.

    Raises LiterateError for anything that is not `name = plain value`.
    """
    found: dict[str, Parameter] = {}
    for statement in ast.parse(source).body:
        assigned = _assignment(statement)
        if assigned is None:
            line = ast.unparse(statement).splitlines()[0]
            raise LiterateError(f"The parameters cell of {name} may hold only `name = plain value`, not `{line}`.")
        parameter = assigned[0]
        annotation = ast.unparse(statement.annotation) if isinstance(statement, ast.AnnAssign) else None
        found[parameter] = _parameter(parameter, ast.literal_eval(assigned[1]), annotation, name)
    return found


def check_values(values: dict[str, Any], parameters: dict[str, Parameter], name: str) -> dict[str, Any]:
    """The given values, each checked against its parameter. Raises ParameterError for an unknown name or a misfit."""
    for given in values:
        if given not in parameters:
            raise ParameterError(f"Notebook {name} has no parameter '{given}'; {suggestion(given, list(parameters))}")
    return {given: parameters[given].check(value) for given, value in values.items()}


def parse_assignments(texts: list[str], parameters: dict[str, Parameter], name: str) -> dict[str, Any]:
    """Values from `NAME=VALUE` texts of the command line. Raises ParameterError as `check_values` does."""
    values: dict[str, Any] = {}
    for text in texts:
        given, equals, value = text.partition("=")
        given = given.strip()
        if not equals or not given:
            raise ParameterError(f"A parameter is given as NAME=VALUE, not '{text}'.")
        if given in values:
            raise ParameterError(f"Parameter {given} is given twice.")
        check_values(dict.fromkeys([given] if given not in parameters else []), parameters, name)
        values[given] = parameters[given].parse(value)
    return values


def check_parameters(name: str, namespace: dict[str, Any]) -> None:
    """For the cell after the parameters: `check_parameters("NN_name", globals())`.

    Raises ParameterError for wrong types and unknown names. Unknown are names beyond the parameters in the cells of
    plain assignments that ran just before this one (papermill injects such a cell); what else the notebook defines is
    its own affair. Values are put back converted (int → float).
    """
    parameters = read_parameters(name)
    injected: dict[str, None] = {}
    for source in reversed(list(namespace.get("In", []))[:-1]):
        names = _names(source)
        if not names:
            break
        injected.update(dict.fromkeys(names))
        if set(names) >= set(parameters):
            break
    missing = [known for known in parameters if known not in namespace]
    if missing:
        raise ParameterError(f"Notebook {name} needs its parameter {missing[0]}; run the parameters cell first.")
    given = {known: namespace[known] for known in [*parameters, *injected] if known in namespace}
    namespace.update(check_values(given, parameters, name))


def suggestion(given: str, known: list[str]) -> str:
    """What was probably meant, else what there is to choose from."""
    close = difflib.get_close_matches(given, known, n=1)
    return f"did you mean '{close[0]}'?" if close else f"its parameters are: {', '.join(known) or 'none'}."


def _script(name: str, folder: Path | None) -> Path:
    if folder is None:
        folder = Path(os.environ[FOLDER_VARIABLE]) if FOLDER_VARIABLE in os.environ else find_project().notebooks
    path = folder / f"{name}.py"
    if not path.is_file():
        raise LiterateError(
            f"There is no script {name}.py in the folder of notebooks, so its parameters are not known."
        )
    return path


def _parameter(name: str, default: Any, annotation: str | None, notebook: str) -> Parameter:
    words = [word.strip() for word in annotation.split("|")] if annotation else []
    optional = "None" in words or (default is None and bool(words))
    kinds = [word for word in words if word != "None"] or [type(default).__name__]
    match = re.fullmatch(r"(\w+)(?:\[(\w+)\])?", kinds[0])
    kind, item = match.groups() if match and len(kinds) == 1 else (None, None)
    if kind not in TYPES or (item and item not in TYPES):
        raise LiterateError(
            f"Parameter {name} of {notebook} must be of one type of {', '.join(TYPES)}; "
            f"one that may be left open is written `{name}: float | None = None`."
        )
    if kind == "list" and not item and default:
        item = type(default[0]).__name__
    parameter = Parameter(name, default, kind, item, optional)
    return Parameter(name, parameter.check(default), kind, item, optional)


def _fit(value: Any, kind: str | None) -> Any:
    """`value` when it is of that type, an int turned to float; TypeError else. Numbers are finite, bool is no int."""
    if kind is None:
        return value
    if kind == "float" and type(value) is int:
        return float(value)
    if type(value) is not TYPES[kind] or (kind == "float" and not math.isfinite(value)):
        raise TypeError
    return value


def _parse(text: str, kind: str | None) -> Any:
    if kind == "str":
        return text
    if kind == "bool":
        if text.strip().lower() not in WORDS:
            raise ValueError
        return WORDS[text.strip().lower()]
    if kind in {"int", "float"}:
        value = TYPES[kind](text)
        if not math.isfinite(value):
            raise ValueError
        return value
    return ast.literal_eval(text)


def _parse_list(text: str, item: str | None) -> list[Any]:
    """`[1, 2]` as Python writes it, or `1,2`."""
    if text.strip().startswith("["):
        try:
            return ast.literal_eval(text.strip())
        except (SyntaxError, ValueError):
            raise ValueError from None
    return [_parse(part.strip(), item or "str") for part in text.split(",")] if text.strip() else []


def _assignment(statement: ast.stmt) -> tuple[str, ast.expr] | None:
    """Name and value of `name = literal` or `name: type = literal`, None for any other statement."""
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        target = statement.targets[0]
    elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
        target = statement.target
    else:
        return None
    if not isinstance(target, ast.Name):
        return None
    try:
        ast.literal_eval(statement.value)
    except ValueError:
        return None
    return target.id, statement.value


def _names(source: str) -> list[str]:
    """The names that a cell of nothing but plain assignments defines; empty for any other cell.

    papermill writes numbers that have no literal as `float('nan')`; they count as plain here.
    """
    source = re.sub(r"float\('-?(nan|inf)'\)", "0.0", source)
    try:
        statements = ast.parse(source).body
    except SyntaxError:
        return []
    assigned = [_assignment(statement) for statement in statements]
    return [] if None in assigned else [pair[0] for pair in assigned if pair]
