"""Images with landmarks, as in ANHIR (Borovec et al., IEEE TMI 2020): the specimen may deform, landmarks are the truth.

Either a table of pairs with the columns of the challenge's own (Source image, Source landmarks, Target image, Target
landmarks; files relative to the table), or a folder in which landmarks stand beside images under the same name
(he.jpg and he.csv): then every two images of one folder are a pair. Landmarks are CSV files with columns X and Y, in
pixels, row by row the same places of the specimen. Source is image_0, target is image_1.

There is no true homography. Its place takes the affine map that fits the landmarks best, known no better than to the
median distance that it leaves; what counts are the landmarks' own errors.
"""

import csv
import os
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import numpy as np

from microloftr.errors import ParameterError
from microloftr.evaluation.metrics import distances
from microloftr.evaluation.pair import Pair, spread
from microloftr.images import read_image
from microloftr.registration.families import fit_family

COLUMNS = ("source image", "source landmarks", "target image", "target landmarks")
SUFFIXES = {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp"}
FEWEST = 4  # landmarks of a pair: an affine map fits three exactly

Row = tuple[Path, Path, Path, Path]  # image_0, its landmarks, image_1, its landmarks


class LandmarkPairs:
    """The pairs of a table, or of a folder of images and CSV files; images are read when a pair is asked for.

    Raises ParameterError where files are missing, no pair has landmarks on both sides, or a pair has too few.
    """

    made = False
    split = "landmarks"
    name = "landmarks"
    record = "evaluate_landmarks"
    error = "overlap"
    estimators = ("magsac",)

    def __init__(self, place: str | os.PathLike, limit: int | None = None) -> None:
        self.place = Path(place)
        self.folder = self.place if self.place.is_dir() else self.place.parent
        rows = _beside(self.place) if self.place.is_dir() else _table(self.place)
        if not rows:
            raise ParameterError(f"{self.place} holds no two images with landmarks in CSV files of X and Y.")
        for row in rows:
            for path in row:
                if not path.is_file():
                    raise ParameterError(f"There is no file {path}, which {self.place} asks for.")
        self._rows = [rows[k] for k in spread(len(rows), limit)]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, number: int) -> Pair:
        row = self._rows[number]
        images = [read_image(path).pixels for path in (row[0], row[2])]
        points = [read_points(path) for path in (row[1], row[3])]
        count = min(map(len, points))  # as in the challenge: the first that both have
        if count < FEWEST:
            raise ParameterError(f"{row[1]} and {row[3]} share {count} landmarks; a pair needs {FEWEST} or more.")
        points_0, points_1 = (one[:count] for one in points)
        truth = fit_family("affine", points_0, points_1)
        if not np.isfinite(truth).all():
            raise ParameterError(f"The landmarks of {row[1]} lie on one line, so that no map can be fitted.")
        names = [path.relative_to(self.folder).with_suffix("").as_posix() for path in (row[0], row[2])]
        group = Path(names[0]).parent.name or "all"
        return Pair(
            f"{names[0]}-{Path(names[1]).name}",
            group,
            group,
            *images,
            truth,
            float(np.median(distances(truth, points_0, points_1))),
            *(image.shape[::-1] for image in images),
            landmarks=np.column_stack([points_0, points_1]),
        )

    def __iter__(self) -> Iterator[Pair]:
        return (self[number] for number in range(len(self)))


def _beside(folder: Path) -> list[Row]:
    """Every two images of one folder, of those with a CSV of the same name, in order of their names."""
    images = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    marked = [(path, path.with_suffix(".csv")) for path in images if path.with_suffix(".csv").is_file()]
    return [(*a, *b) for a, b in combinations(marked, 2) if a[0].parent == b[0].parent]


def _table(path: Path) -> list[Row]:
    """The rows of a table of pairs that name landmarks of both images; others are for a challenge's own eyes."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = [
                {name.strip().lower(): value for name, value in row.items() if name} for row in csv.DictReader(file)
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ParameterError(f"{path} is no table of pairs ({error.__class__.__name__}).") from error
    missing = [name for name in COLUMNS if rows and name not in rows[0]]
    if missing or not rows:
        raise ParameterError(f"{path} is no table of pairs: it lacks {', '.join(missing or ['rows'])}.")
    chosen = [[(row[name] or "").strip() for name in COLUMNS] for row in rows]
    return [tuple(path.parent / name for name in names) for names in chosen if all(names)]


def read_points(path: Path) -> np.ndarray:
    """Points (K, 2) of a CSV with columns X and Y, in pixels; other columns (a number in front) are left alone.

    Raises ParameterError where these columns are missing or hold anything but finite numbers.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            header, *rows = [row for row in csv.reader(file) if row]
        names = [name.strip().lower() for name in header]
        points = np.array([[row[names.index(axis)] for axis in "xy"] for row in rows], np.float64).reshape(-1, 2)
    except (OSError, ValueError, IndexError, csv.Error) as error:
        raise ParameterError(f"{path} is no table of landmarks with the columns X and Y.") from error
    if not np.isfinite(points).all():
        raise ParameterError(f"{path} has landmarks that are no numbers.")
    return points
