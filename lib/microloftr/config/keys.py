"""The keys and groups of the configuration, and words for what a key takes: errors name the field and the choice."""

import difflib
from dataclasses import fields, is_dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from microloftr.config.plain import Config
from microloftr.errors import ConfigError

GROUPS = tuple(field.name for field in fields(Config))
WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}


@cache
def kinds() -> dict[str, Any]:
    """Every dotted key with its type; a part that holds keys has its dataclass."""
    found: dict[str, Any] = {}

    def walk(kind: type, prefix: str) -> None:
        for field in fields(kind):
            found[prefix + field.name] = field.type
            if is_dataclass(field.type):
                walk(field.type, f"{prefix}{field.name}.")

    walk(Config, "")
    return found


def check_key(key: str, override: str) -> None:
    """ConfigError where there is no such key, with the nearest one that there is."""
    known = kinds()
    if key in known:
        return
    near = difflib.get_close_matches(key, known, n=1)
    part = key.rpartition(".")[0]
    beside = [name for name in known if name.rpartition(".")[0] == part] or [*GROUPS]
    hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(beside)}"
    raise ConfigError(f"{override!r} has the unknown key {key}; {hint}")


def check_choice(group: str, value: Any) -> None:
    """ConfigError where the group has no preset of this name, with those that it has."""
    known = presets(group)
    if value not in known:
        raise ConfigError(f"there is no {group}={value}; choose from {', '.join(f'{group}={name}' for name in known)}")


def presets(group: str) -> list[str]:
    """Names of a group's presets, which are YAML files."""
    folder = files("microloftr.config") / group
    return sorted(path.name.removesuffix(".yaml") for path in folder.iterdir() if path.name.endswith(".yaml"))


def wanted(key: str) -> str:
    """What a key takes, in words."""
    kind = kinds()[key]
    if is_dataclass(kind):
        return f"set by its keys, as {key}.{fields(kind)[0].name}=…"
    return WORDS.get(kind, f"a list, as {key}=[a,b]")
