"""What decides the answers of a matcher: its weights, its options, and all code that it imports. In hashes.

A file of predictions carries them, so that what any of these has outdated is never taken for current.
"""

import ast
import hashlib
import inspect
import os
import sys
from functools import cache
from pathlib import Path
from typing import Any

import microloftr
from microloftr.evaluation.baselines.common import NO_RESIZE

PACKAGE = Path(microloftr.__file__).parent
LIBRARIES = ("cv2", "numpy", "torch")  # whose versions decide as well


def resize_of(matcher: Any) -> str:
    """What the matcher does to large images, in words for the tables."""
    options = getattr(matcher, "options", None)
    long_side = getattr(options, "long_side" if getattr(options, "search", True) else "network_side", None)
    return str(getattr(matcher, "resize", f"long side to at most {long_side} px" if long_side else NO_RESIZE))


def weights_sha256(matcher: Any) -> str | None:
    """Hash of the names and values of the weights of a matcher with a torch `model`; None where it has none."""
    model = getattr(matcher, "model", None)
    if not hasattr(model, "state_dict"):
        return None
    digest = hashlib.sha256()
    for key, tensor in sorted(model.state_dict().items()):
        array = tensor.detach().float().cpu().numpy()
        digest.update(f"{key} {array.shape}".encode() + array.tobytes())
    return digest.hexdigest()


def code_sha256(matcher: Any) -> str:
    """Hash of all source that decides the answer: the matcher's module, that of its network, what they import of this
    package (also inside functions) and so on, and the versions of the libraries that calculate.
    """
    parts = [type(matcher), *filter(None, [_class_of_network(matcher)])]
    digest = hashlib.sha256()
    for file in sorted(set().union(*map(_files_of, parts))):
        digest.update(Path(file).read_bytes() if os.path.isfile(file) else os.urandom(32))
    versions = [(name, getattr(sys.modules.get(name), "__version__", "")) for name in LIBRARIES]
    torch_counts = any(hasattr(matcher, name) for name in ("model", "device"))
    digest.update(repr(versions if torch_counts else versions[:2]).encode())
    return digest.hexdigest()


def _class_of_network(matcher: Any) -> type | None:
    model = getattr(matcher, "model", None)
    return type(model) if hasattr(model, "state_dict") else None


def _files_of(part: type) -> set[str]:
    try:
        start = inspect.getsourcefile(part) or "unknown"
    except TypeError:  # a class without a file, as one typed into a console, may be another each time
        start = "unknown"
    return imported_files(start)


@cache
def imported_files(start: str) -> frozenset[str]:
    """The file `start` and every module of this package that it imports, directly or through others.

    The package's own `__init__`, which names everything that is public, is not followed.
    """
    found, waiting = {start}, [start]
    while waiting:
        file = Path(waiting.pop())
        if not file.is_file():
            continue
        for node in ast.walk(ast.parse(file.read_bytes())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            else:
                continue
            for path in filter(None, map(_module_file, names)):
                if str(path) not in found:
                    found.add(str(path))
                    waiting.append(str(path))
    return frozenset(found)


def _module_file(name: str) -> Path | None:
    """The file of a module of this package, or of the module that holds a name; None for all other modules."""
    first, *parts = name.split(".")
    if first != microloftr.__name__:
        return None
    for length in (len(parts), len(parts) - 1):
        if length > 0:
            path = PACKAGE.joinpath(*parts[:length])
            for file in (path.with_suffix(".py"), path / "__init__.py"):
                if file.is_file():
                    return file
    return None
