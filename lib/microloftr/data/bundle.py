"""Pack a folder of micrographs into the package: `python -m microloftr.data.bundle FOLDER`.

JPEG 2000 is used because a wavelet leaves no 8x8 blocks that a network could learn to match. All pictures share one
target quality, the best one that keeps the whole bundle within the budget; validation, test and lattice pictures, on
which is measured, stand 3 dB above it. A floor keeps the faint texture of dark pictures; a cap keeps sensor noise from
eating the budget.
"""

import argparse
import csv
import io
import re
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from microloftr.errors import ImageError, MicroLoFTRError, ParameterError
from microloftr.files import atomic_write

COLUMNS = (
    "file", "split", "specimen", "modality", "source", "licence",
    "um_per_px", "width", "height", "channels", "note", "psnr_db",
)  # fmt: skip
BUDGET_MIB = 18.5
LICENCES = re.compile(r"(MIT|BSD-\d|Apache-2\.0|CC-BY-\d|CC0|Argonne|NIST)\b")
FLOOR_BPP, CAP_BPP, EVALUATION_CAP_BPP = 0.6, 2.5, 3.5
EVALUATION_DB = 3.0  # how far validation, test and lattice stand above train
COLOUR = 1.6  # a colour picture may take this much more than a grey one
TARGETS_DB = (30.0, 54.0)  # below, textures go; above, 8-bit rounding is all that is left
STEP_DB = 0.25


@dataclass(frozen=True)
class Row:
    """One picture of the source folder: its manifest row and the pixels' place."""

    path: Path
    fields: dict[str, str]

    @property
    def evaluated(self) -> bool:
        return self.fields["split"] != "train"


def read_rows(folder: Path, left_out: Iterable[str]) -> list[Row]:
    """Rows of FOLDER/manifest.csv that may be bundled: not left out by name, and under one of the known licences."""
    manifest = folder / "manifest.csv"
    if not manifest.is_file():
        raise ParameterError(f"{folder} has no manifest.csv; give a folder that holds micrographs and their manifest")
    left_out = set(left_out)
    with open(manifest, newline="", encoding="utf-8") as file:
        rows = [Row(folder / fields["file"], fields) for fields in csv.DictReader(file)]
    return [row for row in rows if row.path.stem not in left_out and LICENCES.match(row.fields["licence"])]


def encode(picture: Image.Image, target_db: float, evaluated: bool) -> bytes:
    """JPEG 2000 bytes of a grey or RGB picture at the target PSNR, held between the floor and the cap in bits."""
    colour = COLOUR if picture.mode == "RGB" else 1.0
    pixels = picture.width * picture.height
    floor = FLOOR_BPP * colour * pixels / 8
    cap = (EVALUATION_CAP_BPP if evaluated else CAP_BPP) * colour * pixels / 8
    data = _jpeg2000(picture, "dB", target_db + (EVALUATION_DB if evaluated else 0.0))
    if floor <= len(data) <= cap:
        return data
    size = floor if len(data) < floor else cap
    return _jpeg2000(picture, "rates", pixels * len(picture.getbands()) / size)


def best_target(rows: list[Row], budget: int) -> tuple[float, list[bytes]]:
    """The highest target in dB, in steps of a quarter, whose files fit into `budget` bytes, and those files."""
    low, high, best = 0, round((TARGETS_DB[1] - TARGETS_DB[0]) / STEP_DB), None
    while low <= high:
        middle = (low + high) // 2
        target = TARGETS_DB[0] + middle * STEP_DB
        files = _encode_all(rows, target)
        total = sum(map(len, files))
        print(f"target {target:.2f} dB: {total / 2**20:.2f} MiB", file=sys.stderr, flush=True)
        if total <= budget:
            best, low = (target, files), middle + 1
        else:
            high = middle - 1
    if best is None:
        raise ParameterError(f"{len(rows)} pictures do not fit into {budget / 2**20:.1f} MiB; raise --budget")
    return best


def psnr(picture: Image.Image, data: bytes) -> float:
    """Peak signal-to-noise ratio in dB of the decoded bytes against the picture (peak 255)."""
    with Image.open(io.BytesIO(data)) as decoded:
        difference = np.asarray(decoded, dtype=np.float64) - np.asarray(picture, dtype=np.float64)
    return float(10 * np.log10(255**2 / max(np.mean(difference**2), 1e-3)))


def bundle(folder: Path, out: Path, budget_mib: float = BUDGET_MIB) -> float:
    """Write the .jp2 files and manifest.csv of FOLDER into OUT; returns the target quality in dB."""
    with open(out / "left_out.csv", newline="", encoding="utf-8") as file:
        left_out = [line["file"] for line in csv.DictReader(file)]
    rows = read_rows(folder, left_out)
    target, files = best_target(rows, int(budget_mib * 2**20))
    names = {f"{row.path.stem}.jp2" for row in rows}
    for row, data in zip(rows, files, strict=True):
        with atomic_write(out / f"{row.path.stem}.jp2") as temporary:
            temporary.write_bytes(data)
    with atomic_write(out / "manifest.csv") as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for row, data in sorted(zip(rows, files, strict=True), key=lambda pair: pair[0].path.stem):
            quality = f"{psnr(_open(row.path), data):.1f}"
            writer.writerow(row.fields | {"file": f"{row.path.stem}.jp2", "psnr_db": quality})
    for old in out.glob("*.jp2"):  # of an earlier run with other pictures
        if old.name not in names:
            old.unlink()
    return target


def main(argv: list[str] | None = None) -> int:
    """Command line of the module."""
    parser = argparse.ArgumentParser(prog="python -m microloftr.data.bundle", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder with micrographs and a manifest.csv")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "micrographs")
    parser.add_argument("--budget", type=float, default=BUDGET_MIB, help="MiB for all pictures together")
    options = parser.parse_args(argv)
    try:
        target = bundle(options.folder, options.out, options.budget)
    except MicroLoFTRError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"bundled at {target:.2f} dB into {options.out}")
    return 0


def _encode_all(rows: list[Row], target: float) -> list[bytes]:
    with ThreadPoolExecutor() as pool:  # the encoder works outside the interpreter lock
        return list(pool.map(lambda row: encode(_open(row.path), target, row.evaluated), rows))


def _open(path: Path) -> Image.Image:
    try:
        with Image.open(path) as picture:
            picture.load()
    except (OSError, SyntaxError) as error:
        raise ImageError(f"{path} is no readable picture: {error}") from error
    if picture.mode not in ("L", "RGB"):
        raise ImageError(f"{path} has mode {picture.mode}; a bundled micrograph is 8 bit grey or RGB")
    return picture


def _jpeg2000(picture: Image.Image, mode: str, layer: float) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG2000", irreversible=True, quality_mode=mode, quality_layers=[layer])
    return buffer.getvalue()


if __name__ == "__main__":
    raise SystemExit(main())
