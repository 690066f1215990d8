"""A folder of one's own: which micrographs are learnt from, which are held out, and whether there is enough of them."""

from dataclasses import replace
from pathlib import Path

from microloftr.config.plain import Config
from microloftr.data.micrographs import Micrograph, load_micrographs
from microloftr.errors import ConfigError, ParameterError

HELD_OUT = 5  # in a small plain folder one specimen in so many, one at least
ROOM = 1.5  # a micrograph's shorter side, in crops: less leaves no room for two crops that differ

Split = tuple[tuple[Micrograph, ...], tuple[Micrograph, ...]]


def own_micrographs(config: Config) -> Split:
    """Micrographs of `data.folder` to learn from, and those held out to validate on.

    Raises ConfigError where they are too few or too small, and what `load_micrographs` raises.
    """
    folder = config.data.folder
    if folder == "bundled":
        return load_micrographs("train"), load_micrographs("validation")
    plain = Path(folder).is_dir() and not (Path(folder) / "manifest.csv").is_file()
    learnt, held_out = _plain(folder) if plain else (load_micrographs(s, folder) for s in ("train", "validation"))
    _check((*learnt, *held_out), config)
    return learnt, held_out


def _plain(folder: str) -> Split:
    """The split by specimens' names where it leaves something on both sides; else one in five of them is held out.

    Where the names know one specimen alone, its files are taken as specimens.
    """
    found = {split: _split(split, folder) for split in ("train", "validation", "test")}
    if found["train"] and found["validation"]:
        return found["train"], found["validation"]
    everything = sorted((one for part in found.values() for one in part), key=lambda one: one.name)
    if len({one.specimen for one in everything}) == 1:
        everything = [replace(one, specimen=one.name) for one in everything]
    kept = set(sorted({one.specimen for one in everything})[::HELD_OUT])
    learnt = tuple(replace(one, split="train") for one in everything if one.specimen not in kept)
    return learnt, tuple(replace(one, split="validation") for one in everything if one.specimen in kept)


def _split(split: str, folder: str) -> tuple[Micrograph, ...]:
    try:
        return load_micrographs(split, folder)
    except ParameterError as error:
        if f"has no micrograph in the split {split}" not in str(error):
            raise
        return ()


def _check(micrographs: tuple[Micrograph, ...], config: Config) -> None:
    """Raises ConfigError that says what is missing."""
    crop, folder = config.data.crop, config.data.folder
    if len(micrographs) < 2:
        raise ConfigError(
            f"data.folder={folder} holds one micrograph; at least 2 are needed, one to learn from and one to hold out"
        )
    for one in micrographs:
        height, width = one.pixels.shape[:2]
        if min(height, width) < ROOM * crop:
            raise ConfigError(
                f"{one.name} of data.folder={folder} has {width}×{height} pixels, and crops of data.crop={crop} need "
                f"{int(ROOM * crop)} on each side; leave it out, or take a smaller data.crop (64 or more)"
            )
