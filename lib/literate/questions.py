"""Answers of notebooks as records: `answer("Q28", "{value} px …", value=…)` shows a sentence and, in a build, keeps it.

Only `python -m literate build` collects records, from a folder that it names to the kernel; any other run of a notebook
shows the sentence and writes nothing. This module runs inside kernels: it imports nothing slow.
"""

import json
import math
import os
import re
import string
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from literate.errors import LiterateError
from literate.numbers import show
from microloftr.files import write_json

RECORDS_VARIABLE = "LITERATE_RECORDS"  # the folder that a build collects records from; empty in any other run
ID = re.compile(r"Q\d\d")
OWN_FIELDS = ("value", "low", "high", "n", "unit")


def answer(
    id: str,
    sentence: str,
    *,
    value: Any,
    unit: str = "",
    interval: Sequence[float] | None = None,
    n: int | None = None,
    more: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> None:
    """Print the answer to question `id`; in a build of the notebook, also leave its record for results/questions.

    `sentence` has fields {value}, {low}, {high} (of `interval`), {n}, {unit} and the keys of `more` and `settings`:
    three digits, or as a format says ({value:.1f}, {share:%}). `value` is what was measured, a number or a word, in
    `unit`; `more` holds what else was measured, as JSON can hold it; `settings` what was chosen beforehand, for the
    sentence alone. NumPy and torch numbers and arrays become plain ones. Raises LiterateError for an id other than Qnn,
    a sentence without a field or with an unknown one, and missing values; in a build also for NaN and ∞, which any
    other run, whose parameters may leave nothing to measure, shows as –.
    """
    if not isinstance(id, str) or not ID.fullmatch(id):
        raise LiterateError(f"A question has an id such as Q07, not {id!r}.")
    folder = os.environ.get(RECORDS_VARIABLE)
    kept = bool(folder)
    record = {
        "id": id,
        "answer": "",
        "value": plain(value, f"the value of {id}", kept),
        "unit": unit,
        "interval": None if interval is None else plain(list(interval), f"the interval of {id}", kept),
        "n": None if n is None else plain(n, f"the n of {id}", kept),
        "more": plain(dict(more or {}), f"more of {id}", kept),
    }
    record["answer"] = _filled(sentence, record, plain(dict(settings or {}), f"settings of {id}", kept))
    fault = record_fault(record) if kept or _finite(record) else None
    if fault:
        raise LiterateError(f"The answer to {id} cannot be kept: {fault}.")
    print(record["answer"])
    if kept:
        write_json(Path(folder) / f"{id}.json", record)


def record_fault(record: dict[str, Any]) -> str | None:
    """What is wrong with the measured part of a record, None when nothing is."""
    value, interval, n = record.get("value"), record.get("interval"), record.get("n")
    if not isinstance(record.get("answer"), str) or not record["answer"]:
        return "it has no sentence"
    if value is None or value == "" or isinstance(value, dict | list):
        return "its value must be one number or word"
    if not isinstance(record.get("unit"), str):
        return "its unit must be a text"
    if not isinstance(record.get("more"), dict):
        return "its more must hold values by name"
    numbers = interval if isinstance(interval, list) else []
    if interval is not None and (len(numbers) != 2 or not all(map(_number, numbers)) or numbers[0] > numbers[1]):
        return "its interval must be two numbers, the lower first"
    if n is not None and (type(n) is not int or n < 1):
        return "its n must be a whole number above 0"
    return None


def plain(value: Any, what: str, finite: bool = True) -> Any:
    """`value` as JSON holds it. Raises LiterateError for what JSON cannot hold; for NaN and ∞ too where `finite`."""
    try:
        return json.loads(json.dumps(value, default=_plain, allow_nan=not finite))
    except (TypeError, ValueError) as error:
        raise LiterateError(f"A record holds finite plain values; {what} does not: {error}.") from None


class _Filler(string.Formatter):
    """`str.format` with the digits of the notes where the sentence gives no format."""

    def get_field(self, name: str, args: Sequence[Any], fields: Mapping[str, Any]) -> tuple[Any, str]:
        if name not in fields:
            raise LiterateError(f"The sentence has an unknown field {{{name}}}; there are: {', '.join(fields)}.")
        return fields[name], name

    def format_field(self, value: Any, style: str) -> str:
        if value is None or (isinstance(value, float) and not math.isfinite(value)):
            return "–"
        return show(value, style, "the sentence")


def _filled(sentence: str, record: dict[str, Any], settings: dict[str, Any]) -> str:
    """The sentence with its fields filled in, on one line."""
    for where, names, others in (("more", record["more"], OWN_FIELDS), ("settings", settings, record["more"])):
        if taken := [name for name in names if name in OWN_FIELDS or name in others]:
            raise LiterateError(f"The name {taken[0]} in {where} of {record['id']} already means something else.")
    low, high = record["interval"] if record["interval"] and len(record["interval"]) == 2 else (None, None)
    fields = {"value": record["value"], "low": low, "high": high, "n": record["n"], "unit": record["unit"]}
    try:
        if not any(name is not None for _, name, _, _ in string.Formatter().parse(sentence)):
            raise LiterateError(f"The sentence of {record['id']} must have a field such as {{value}}.")
        return " ".join(_Filler().vformat(sentence, (), {**fields, **record["more"], **settings}).split())
    except ValueError as error:
        raise LiterateError(f"The sentence of {record['id']} cannot be filled in: {error}.") from None


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _finite(value: Any) -> bool:
    """Whether no number within is NaN or ∞."""
    if isinstance(value, dict | list):
        return all(map(_finite, value.values() if isinstance(value, dict) else value))
    return not isinstance(value, float) or math.isfinite(value)


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is not a plain value")
