"""Sources of micrographs: the bundled ones, a folder of images, or a manifest; always split by specimen.

Two pictures of one specimen look alike, so a specimen stands in one split only; anything else would let a network be
measured on what it has seen.
"""

import csv
import hashlib
import math
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
from PIL import Image

from microloftr.errors import ImageError, ParameterError

SPLITS = ("train", "validation", "test", "lattice")
REQUIRED_COLUMNS = ("file", "split", "specimen")
_PICTURES = {".jp2", ".png", ".jpg", ".jpeg"}  # read by Pillow as they are when they hold 8 bits
_OTHERS = {".tif", ".tiff", ".bmp", ".pgm", ".webp"}


@dataclass(frozen=True, eq=False)
class Micrograph:
    """One micrograph: `pixels` uint8 (H, W), or (H, W, 3) in colour; `um_per_px` micrometres per pixel where known."""

    name: str
    split: str
    specimen: str
    modality: str
    pixels: np.ndarray
    um_per_px: float | None = None


@dataclass(frozen=True)
class _Entry:
    path: Path
    split: str
    specimen: str
    modality: str
    um_per_px: float | None


def load_micrographs(
    split: str, source: str | Path = "bundled", side_limit: int | None = None
) -> tuple[Micrograph, ...]:
    """All micrographs of one split, sorted by name.

    `split`: train, validation, test or lattice (atomic lattices that match themselves everywhere; not for training).
    `source`: "bundled", the path of a manifest (CSV with the columns file, split, specimen and, if known, modality and
    um_per_px; files relative to it), or a folder. A folder with a manifest.csv is read by it; in a plain folder the
    specimen is the file's stem without its trailing number, and a hash of the specimen's name puts it into train
    (80 %), validation (10 %) or test (10 %): the same split on every machine, whatever is added later.
    `side_limit`: larger pictures are cut to their central `side_limit` pixels on that side, at natural resolution.
    Raises ParameterError for a bad split or source, ImageError for a file that cannot be read.
    """
    if split not in SPLITS:
        raise ParameterError(f"split is {split!r}; it must be one of {', '.join(SPLITS)}")
    if side_limit is not None and (not isinstance(side_limit, int) or side_limit < 1):
        raise ParameterError(f"side_limit is {side_limit!r}; it must be a whole number of pixels above 0")
    if str(source) == "bundled":
        with as_file(files("microloftr.micrographs")) as folder:
            return _load(_read_manifest(folder / "manifest.csv"), split, "the bundled micrographs", side_limit)
    path = Path(source)
    if path.is_dir():
        entries = _read_manifest(path / "manifest.csv") if (path / "manifest.csv").is_file() else _scan(path)
    elif path.is_file():
        entries = _read_manifest(path)
    else:
        raise ParameterError(f'{path} is neither a folder nor a manifest; give one that exists, or "bundled"')
    return _load(entries, split, str(path), side_limit)


def specimen_of(stem: str) -> str:
    """The specimen's name in a plain folder: the file's stem without its trailing number and what separates it."""
    return re.sub(r"[\s_.\-]*\d+$", "", stem) or stem


def split_of(specimen: str) -> str:
    """train (80 %), validation (10 %) or test (10 %), by a hash of the specimen's name alone."""
    share = int.from_bytes(hashlib.sha256(specimen.encode()).digest()[:8]) / 2**64
    return "train" if share < 0.8 else "validation" if share < 0.9 else "test"


def estimate_noise(pixels: np.ndarray) -> float:
    """Standard deviation of the noise, in units of the range 0..1 (uint8 is divided by 255; colour goes to grey).

    Immerkær, Fast noise variance estimation, CVIU 64(2), 1996: mean |image * N| · √(π/2) / 6, with N the difference of
    two Laplacians. It takes fine texture for noise, so it is an upper bound. Raises ParameterError below 3×3 px.
    """
    grey = np.asarray(pixels, dtype=np.float64) / (255.0 if pixels.dtype == np.uint8 else 1.0)
    if grey.ndim == 3:
        grey = grey @ (0.299, 0.587, 0.114)
    if grey.ndim != 2 or min(grey.shape) < 3:
        raise ParameterError(f"noise needs an image of at least 3×3 pixels, not of shape {pixels.shape}")
    rows = grey[:-2] - 2 * grey[1:-1] + grey[2:]
    filtered = rows[:, :-2] - 2 * rows[:, 1:-1] + rows[:, 2:]
    return float(math.sqrt(math.pi / 2) / 6 * np.abs(filtered).mean())


def _load(entries: list[_Entry], split: str, source: str, side_limit: int | None) -> tuple[Micrograph, ...]:
    _check_splits(entries, source)
    chosen = sorted((entry for entry in entries if entry.split == split), key=lambda entry: entry.path.stem)
    if not chosen:
        present = sorted({entry.split for entry in entries})
        raise ParameterError(
            f"{source} has no micrograph in the split {split}, only in {', '.join(present)}; "
            "a plain folder is split by the specimens in its file names, a manifest.csv in it says the split itself"
        )
    with ThreadPoolExecutor() as pool:  # decoders work outside the interpreter lock
        return tuple(pool.map(lambda entry: _read(entry, side_limit), chosen))


def _check_splits(entries: Iterable[_Entry], source: str) -> None:
    seen: dict[str, str] = {}
    for entry in entries:
        if seen.setdefault(entry.specimen, entry.split) != entry.split:
            raise ParameterError(
                f"specimen {entry.specimen} of {source} stands in the splits {seen[entry.specimen]} and {entry.split}; "
                "a specimen may stand in one only"
            )


def _read_manifest(path: Path) -> list[_Entry]:
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            rows, columns = list(reader), reader.fieldnames or ()
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ParameterError(f"{path} cannot be read as a manifest (CSV in UTF-8): {error}") from error
    if missing := [column for column in REQUIRED_COLUMNS if column not in columns]:
        raise ParameterError(
            f"{path} lacks the column {missing[0]}; a manifest has the columns {', '.join(REQUIRED_COLUMNS)}"
        )
    if not rows:
        raise ParameterError(f"{path} names no micrograph; a manifest has one row for each")
    return [_entry(path, number, row) for number, row in enumerate(rows, start=2)]


def _entry(manifest: Path, line: int, row: dict[str, str]) -> _Entry:
    for column in REQUIRED_COLUMNS:
        if not row[column]:
            raise ParameterError(f"line {line} of {manifest} has no {column}")
    if row["split"] not in SPLITS:
        raise ParameterError(f"line {line} of {manifest} has split {row['split']!r}; use {', '.join(SPLITS)}")
    um_per_px = None
    if text := row.get("um_per_px"):
        try:
            um_per_px = float(text)
        except ValueError:
            um_per_px = math.nan
        if not (math.isfinite(um_per_px) and um_per_px > 0):
            raise ParameterError(f"line {line} of {manifest} has um_per_px {text!r}; it must be a number above 0")
    path = manifest.parent / row["file"]
    return _Entry(path, row["split"], row["specimen"], row.get("modality") or "unknown", um_per_px)


def _scan(folder: Path) -> list[_Entry]:
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in _PICTURES | _OTHERS and path.is_file())
    if not paths:
        raise ParameterError(f"{folder} holds no image; put PNG, JPEG, TIFF or JPEG 2000 files into it")
    names = [(path, specimen_of(path.stem)) for path in paths]
    return [_Entry(path, split_of(specimen), specimen, "unknown", None) for path, specimen in names]


def _read(entry: _Entry, side_limit: int | None) -> Micrograph:
    pixels, um_per_px = _decode(entry.path)
    if side_limit is not None:
        top, left = (max(0, (side - side_limit) // 2) for side in pixels.shape[:2])
        pixels = np.ascontiguousarray(pixels[top : top + side_limit, left : left + side_limit])
    return Micrograph(
        entry.path.stem, entry.split, entry.specimen, entry.modality, pixels, entry.um_per_px or um_per_px
    )


def _decode(path: Path) -> tuple[np.ndarray, float | None]:
    if not path.is_file():
        raise ImageError(f"the micrograph {path} is missing; its manifest names it")
    if path.suffix.lower() in _PICTURES:
        try:
            with Image.open(path) as picture:
                if picture.mode in ("L", "RGB"):
                    return np.array(picture), None
        except (OSError, SyntaxError, Image.DecompressionBombError) as error:
            raise ImageError(f"the micrograph {path} cannot be read: {error}") from error
    from microloftr.images import read_planes  # 16 bit, float, TIFF …: needs tifffile, which bundled files do without

    planes = read_planes(path)
    return np.rint(planes.pixels * 255).astype(np.uint8), planes.um_per_px
