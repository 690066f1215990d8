"""The main job: match two images by notebook 00 and leave notebook, matches, transform and overlay in one folder.

`python -m literate match [IMAGE_0 IMAGE_1] [--out DIR] [--um-per-px-0 X] … [-p NAME=VALUE] [--overwrite]`

The notebook works in a hidden folder beside the target, which appears whole when all went well, else not at all.
"""

import argparse
import json
import math
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from literate.errors import LiterateError
from literate.parameters import Parameter, check_values, parse_assignments, read_parameters
from literate.project import find_project
from microloftr.errors import ImageError, ParameterError
from microloftr.files import write_text

if TYPE_CHECKING:
    from nbformat import NotebookNode

NOTEBOOK = "00_match_two_micrographs"
CAPTIONS = {
    f"{NOTEBOOK}.ipynb": "the executed notebook: every step with its pictures",
    "matches.csv": "the matching points in both images, with their confidence",
    "overlay.png": "both images laid over each other",
    "summary.json": "the numbers above, for programs",
    "transform.json": "the transform that takes the points of image_0 to image_1",
}
LONGEST_NAME = 100  # characters of each image's name in the name of the folder; file systems allow 255 bytes in all


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser("python -m literate match", description="Match two images by notebook 00.")
    parser.add_argument("images", nargs="*", metavar="IMAGE", help="two images; a bundled pair without any")
    parser.add_argument("--out", metavar="DIR", help="folder of the result; matches/<a>__<b> by default")
    parser.add_argument("--um-per-px-0", metavar="X", help="pixel size of image 0 in µm, where the file does not say")
    parser.add_argument("--um-per-px-1", metavar="X", help="pixel size of image 1 in µm")
    parser.add_argument(
        "-p", action="append", default=[], metavar="NAME=VALUE", help="another parameter of notebook 00"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier result in the same folder")
    parser.add_argument("--root", help="the clone to work in")
    args = parser.parse_args(argv)
    project = find_project(args.root)
    parameters = read_parameters(NOTEBOOK, project.notebooks)
    values = given_values(args, parameters)
    rules = {"named": bool(args.out), "overwrite": args.overwrite}
    wanted = Path(args.out).expanduser().absolute() if args.out else None
    parent = wanted.parent if wanted else Path("matches").absolute()
    if wanted:
        choose_target(wanted, **rules)

    from literate.pairs import notebook_text  # jupytext and papermill take seconds; bad input is told before
    from literate.run import run_notebook

    missing = next((folder for folder in reversed([parent, *parent.parents]) if not folder.exists()), None)
    parent.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=parent, prefix=".match.") as hidden:
            work = Path(hidden) / "result"
            work.mkdir()
            executed = run_notebook(project, NOTEBOOK, {**values, "out": "."}, cwd=work)
            write_text(work / f"{NOTEBOOK}.ipynb", notebook_text(executed))
            wanted = wanted or parent / default_name(values, read_summary(work))
            final = put(work, wanted, Path(hidden) / "old", **rules)
    except BaseException:
        _remove_empty(parent, down_to=missing)
        raise
    print("\n".join(report(final_words(executed), final)))
    if final != wanted:
        print(f"The earlier result in {wanted.name} was kept; --overwrite would replace it.")
    return 0


def given_values(args: argparse.Namespace, parameters: dict[str, Parameter]) -> dict[str, Any]:
    """The parameters of the notebook that the command line gives, checked; empty texts count as not given.

    Raises ImageError for a file that is missing or cannot be opened, ParameterError for anything else that is wrong.
    """
    values = parse_assignments(args.p, parameters, NOTEBOOK)
    if "out" in values:
        raise ParameterError("The folder of the result is given by --out DIR, not by -p out=….")
    if "image_0" in values or "image_1" in values:
        raise ParameterError("The two images are given as they are, IMAGE_0 IMAGE_1, not by -p.")
    for name, value in values.items():  # the notebook runs in a folder of its own: a file is named by its whole path
        if isinstance(value, str) and Path(value).is_file():
            values[name] = str(Path(value).resolve())
    images = [image for image in args.images if image]
    if len(images) not in {0, 2}:
        raise ParameterError(f"Give two images, IMAGE_0 and IMAGE_1, or none for the bundled pair; not {len(images)}.")
    for side, image in enumerate(images):
        values[f"image_{side}"] = str(readable(image))
    for side, text in enumerate([args.um_per_px_0, args.um_per_px_1]):
        if not text:
            continue
        name = f"um_per_px_{side}"
        check_values(dict.fromkeys([name] if name not in parameters else []), parameters, NOTEBOOK)
        size = values[name] = parameters[name].parse(text)
        if size is None or not (0 < size < math.inf):
            raise ParameterError(f"The pixel size {name} must be a number of µm above 0 such as 0.5, not '{text}'.")
    return values


def readable(image: str) -> Path:
    """The absolute path of an image file that exists, is not empty and may be read. Raises ImageError for any other."""
    path = Path(image).expanduser()
    if not path.exists():
        raise ImageError(f"There is no image file {image}.")
    if not path.is_file():
        raise ImageError(f"{image} is a folder, not an image file.")
    try:
        with open(path, "rb") as file:
            if not file.read(1):
                raise ImageError(f"The image file {image} is empty.")
    except OSError as error:
        raise ImageError(f"The image file {image} cannot be read: {(error.strerror or str(error)).lower()}.") from None
    return path.resolve()


def default_name(values: dict[str, Any], summary: dict[str, Any]) -> str:
    """<a>__<b>, a and b being the names of the two images; the notebook names those of the bundled pair."""
    stems = [Path(values[name]).stem if name in values else str(summary.get(name)) for name in ("image_0", "image_1")]
    return "__".join(_shorten(stem.removesuffix(".ome")) for stem in stems)


def choose_target(target: Path, *, named: bool, overwrite: bool) -> Path:
    """The folder that the result will become: `target`, or with -2, -3 … behind it where a default folder is taken.

    Raises LiterateError for a folder that the user named and that holds something; `overwrite` lets a result go.
    """
    if target.exists() and not target.is_dir():
        raise LiterateError(f"{target} is a file; the result needs a folder of its own.")
    if not target.is_dir() or not any(target.iterdir()):
        return target
    if overwrite:
        if not (target / f"{NOTEBOOK}.ipynb").exists():
            raise LiterateError(
                f"{target} holds files that are no earlier result, so it is not replaced; name another."
            )
        return target
    if named:
        raise LiterateError(f"{target} exists and is not empty; name another folder or add --overwrite.")
    return _numbered(target)


def put(work: Path, wanted: Path, aside: Path, *, named: bool, overwrite: bool) -> Path:
    """Rename the finished folder to its place; an earlier result steps aside first. Returns where it lies.

    Another run may have taken the place meanwhile, so the rules of `choose_target` are applied here again.
    """
    while True:
        target = choose_target(wanted, named=named, overwrite=overwrite)
        if target.is_dir() and not any(target.iterdir()):  # the user's own folder, perhaps the one they stand in
            for path in list(work.iterdir()):
                os.rename(path, target / path.name)
            return target
        if target.exists():
            os.rename(target, aside)
        try:
            os.rename(work, target)
            return target
        except OSError:
            if not target.exists():
                if aside.exists():
                    os.rename(aside, target)
                raise
            shutil.rmtree(aside, ignore_errors=True)  # another run replaced it too; the last one stays


def read_summary(folder: Path) -> dict[str, Any]:
    """The numbers that the notebook leaves in summary.json."""
    try:
        return json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        raise LiterateError(
            f"Notebook {NOTEBOOK} wrote no readable summary.json; its last cells must write one."
        ) from None


def final_words(executed: "NotebookNode") -> str:
    """What the last code cell that says anything says: the answer in numbers."""
    from literate.outputs import output_text

    said = ["".join(output_text(o) for o in cell.outputs) for cell in executed.cells if cell.cell_type == "code"]
    return next((text.strip() for text in reversed(said) if text.strip()), "")


def report(words: str, folder: Path) -> list[str]:
    """The final lines for the terminal: the numbers, then each file of the result."""
    with suppress(ValueError):
        folder = folder.relative_to(Path.cwd())
    names = sorted(path.name for path in folder.iterdir())
    width = max(map(len, names))
    listed = [f"  {name:{width}}  {CAPTIONS.get(name, '')}".rstrip() for name in names]
    return [words, "", f"The result lies in {folder}{os.sep}", *listed]


def _numbered(target: Path) -> Path:
    number = 2
    while (place := target.with_name(f"{target.name}-{number}")).exists():
        number += 1
    return place


def _shorten(stem: str) -> str:
    while len(stem.encode()) > LONGEST_NAME:
        stem = stem[:-1]
    return stem


def _remove_empty(folder: Path, *, down_to: Path | None) -> None:
    """Remove the folders that were made for a result that did not come, as long as they are empty."""
    while down_to is not None and folder.is_relative_to(down_to):
        with suppress(OSError):
            folder.rmdir()
        folder = folder.parent
