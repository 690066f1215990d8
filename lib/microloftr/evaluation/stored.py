"""The fixed made pairs, kept in a folder: making them takes longer than matching them with a fast matcher.

What is kept carries a hash of all that the pairs are made from (the package's code for data, the micrographs, the
libraries' versions), and is made anew where that has changed.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

import microloftr
from microloftr.files import atomic_write

TEXTS = ("micrograph", "specimen", "modality")


def made_pairs(level: str, split: str, limit: int | None = None, store: Path | None = None) -> Any:
    """`microloftr.data.fixed.fixed_pairs`, read from the folder `store` where they are there and current.

    Without `store` they are made.
    """
    from microloftr.data.fixed import fixed_pairs  # torch, when first needed

    if store is None:
        return fixed_pairs(level, split, limit)
    pairs = _whole(level, split, Path(store) / f"{level}_{split}.npz")
    return pairs if limit is None else taken(pairs, range(min(limit, len(pairs))))


def _whole(level: str, split: str, path: Path) -> Any:
    from microloftr.data.fixed import FixedPairs, fixed_pairs

    try:
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
            if str(file["source"]) == source_sha256():
                values = {field.name: file[field.name] for field in fields(FixedPairs)}
                texts = {name: tuple(values[name].tolist()) for name in TEXTS}
                return FixedPairs(**(values | texts | {name: str(values[name]) for name in ("level", "split")}))
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        pass  # missing or damaged: made anew
    pairs = fixed_pairs(level, split)
    values = {field.name: np.asarray(getattr(pairs, field.name)) for field in fields(FixedPairs)}
    with atomic_write(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, source=np.array(source_sha256()), **values)
    return pairs


@cache
def source_sha256() -> str:
    """Hash of what fixed pairs are made from."""
    import imagecodecs
    import torch

    package = Path(microloftr.__file__).parent
    digest = hashlib.sha256(repr((np.__version__, torch.__version__, imagecodecs.__version__)).encode())
    for file in (package / "geometry.py", *sorted(package.glob("data/*.py")), *sorted(package.glob("micrographs/*.*"))):
        digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()


def taken(pairs: Any, indices: Iterable[int]) -> Any:
    """The fixed pairs of these indices, in their order."""
    chosen = list(indices)
    values = {field.name: getattr(pairs, field.name) for field in fields(type(pairs))}
    for name in values.keys() - {"level", "split"}:
        values[name] = tuple(values[name][k] for k in chosen) if name in TEXTS else values[name][chosen]
    return type(pairs)(**values)
