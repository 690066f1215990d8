"""`python -m microloftr finetune-example FOLDER`: a folder as a microscopist has it, to fine-tune on and to judge by.

Wide-field fluorescence of the validation split, where `micro` is weak, and which no training has seen. Some of
its micrographs are to learn from, two of other specimens to judge by; a manifest says which.
"""

import argparse
import csv
import shutil
from importlib.resources import as_file, files
from pathlib import Path

from microloftr.errors import ParameterError
from microloftr.files import atomic_write
from microloftr.results import results_folder

MODALITY = "widefield_fluorescence"
LEARNT = ("hela_tubulin", "nf1_schwann_cells_dapi", "nf1_schwann_cells_gfp", "s_aureus_membrane")  # specimens
JUDGED = ("drosophila_kc167_actin", "nf1_schwann_cells_rfp")
COLUMNS = ("file", "split", "specimen", "modality")


def build_example(folder: Path) -> list[str]:
    """Copies the micrographs into `folder`, writes their manifest.csv, and returns the files' names.

    Raises ParameterError where the folder holds something else.
    """
    manifest = folder / "manifest.csv"
    if folder.is_dir() and any(folder.iterdir()) and not manifest.is_file():
        raise ParameterError(f"{folder} holds other files; name a folder that is empty or not there")
    split_of = dict.fromkeys(LEARNT, "train") | dict.fromkeys(JUDGED, "validation")
    folder.mkdir(parents=True, exist_ok=True)
    with as_file(files("microloftr.micrographs")) as bundled:
        with open(bundled / "manifest.csv", newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row["modality"] == MODALITY and row["specimen"] in split_of]
        for row in rows:
            shutil.copyfile(bundled / row["file"], folder / row["file"])
            row["split"] = split_of[row["specimen"]]
    with atomic_write(manifest) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return [row["file"] for row in rows]


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    default = results_folder().parent / "runs" / "own_example"
    parser = argparse.ArgumentParser("python -m microloftr finetune-example", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", default=default, help="where to (runs/own_example)")
    folder = parser.parse_args(argv).folder
    count, here = len(build_example(folder)), Path.cwd()
    if folder.is_relative_to(here):
        folder = folder.relative_to(here)  # the recipe of the weights tells it, and no path of this machine
    print(f"{count} micrographs in {folder}; now")
    for command in ("train", "finetune-report"):
        print(f"  python -m microloftr {command} data.folder={folder} train.init=micro train.run=example")
    return 0
