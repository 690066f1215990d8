"""A folder of pairs whose truth is a homography, as `pairs.json` tells it.

`pairs.json` is a list of objects with id, image_0, image_1 (files, relative to the folder) and homography (3×3, points
of image_0 to image_1, pixel centres at integers). Optional: group, source (what pairs of one specimen share; intervals
are drawn by it), accuracy_px (how good the truth is), landmarks (a CSV x0,y0,x1,y1), overlap, modality.

Photographs with known cameras have camera_0 and camera_1 (3×3, focal lengths and principal point in px) and pose, an
object with rotation (3×3) and translation (3): X_1 = R·X_0 + t. They need no homography: a scene with depth has none.
"""

import csv
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from microloftr.errors import ParameterError
from microloftr.evaluation.pair import Cameras, Pair, spread
from microloftr.images import read_image


class FolderPairs:
    """The pairs of a folder with `pairs.json`, each image read when its pair is asked for.

    Raises ParameterError where the folder, its list or a file that it names is missing or malformed.
    """

    made = False
    split = "real"
    record = "evaluate_real"
    error = "overlap"
    estimators = ("magsac",)

    def __init__(self, folder: str | os.PathLike, limit: int | None = None) -> None:
        path = Path(folder)
        self.folder, listing = (path.parent, path) if path.suffix == ".json" else (path, path / "pairs.json")
        self.name = "real"
        try:
            self._rows = json.loads(listing.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ParameterError(f"There is no {listing}; a folder of pairs needs one.") from None
        except (OSError, ValueError) as error:
            raise ParameterError(f"{listing} is not a list of pairs in JSON: {error}.") from error
        if not isinstance(self._rows, list) or not self._rows:
            raise ParameterError(f"{listing} holds no list of pairs.")
        for number, row in enumerate(self._rows):
            self._check(listing, number, row)
        identifiers = [row["id"] for row in self._rows]
        if twice := {name for name in identifiers if identifiers.count(name) > 1}:
            raise ParameterError(f"{listing} has more than one pair {sorted(twice)[0]}; every id must be its own.")
        self._rows = [self._rows[k] for k in spread(len(self._rows), limit)]

    def _check(self, listing: Path, number: int, row: Any) -> None:
        known = row if isinstance(row, dict) else {}
        needed = ["id", "image_0", "image_1"] + ["homography"] * ("pose" not in known)
        missing = [key for key in needed if key not in known]
        if missing:
            raise ParameterError(f"Pair {number} of {listing} lacks {', '.join(missing)}.")
        if "homography" in row:
            matrix = _numbers(row["homography"])
            if matrix.shape != (3, 3) or abs(np.linalg.det(matrix)) < 1e-12:
                raise ParameterError(f"The homography of pair {row['id']} is not 3×3 numbers that can be inverted.")
        cameras_of(row)
        for key in ("image_0", "image_1", "landmarks"):
            if row.get(key) and not (self.folder / row[key]).is_file():
                raise ParameterError(f"There is no file {self.folder / row[key]}, the {key} of pair {row['id']}.")

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, number: int) -> Pair:
        row = self._rows[number]
        images = [read_image(self.folder / row[key]).pixels for key in ("image_0", "image_1")]
        sizes = [image.shape[::-1] for image in images]
        for key, size in zip(("size_0", "size_1"), sizes, strict=True):
            if row.get(key) and tuple(row[key]) != size:
                raise ParameterError(f"{key} of pair {row['id']} is {row[key]}, but its image is {list(size)}.")
        group = row.get("group") or "all"
        accuracy, overlap, cameras = row.get("accuracy_px"), row.get("overlap"), cameras_of(row)
        planar = "homography" in row
        return Pair(
            row["id"],
            group,
            row.get("source") or row["id"],
            *images,
            np.array(row["homography"], np.float64) if planar else far_away(cameras),
            None if accuracy is None or not planar else float(accuracy),
            *sizes,
            row.get("modality"),
            None if overlap is None else float(overlap),
            read_landmarks(self.folder / row["landmarks"]) if row.get("landmarks") else None,
            cameras,
            planar,
        )

    def __iter__(self) -> Iterator[Pair]:
        return (self[number] for number in range(len(self)))


def cameras_of(row: dict[str, Any]) -> Cameras | None:
    """The cameras and the pose that a row tells, None where it tells none of them. Raises ParameterError."""
    if not {"camera_0", "camera_1", "pose"} & set(row):
        return None
    pose = row["pose"] if isinstance(row.get("pose"), dict) else {}
    found = Cameras(
        *(_numbers(row.get(key)) for key in ("camera_0", "camera_1")),
        *(_numbers(pose.get(key)) for key in ("rotation", "translation")),
    )
    if [part.shape for part in found] != [(3, 3), (3, 3), (3, 3), (3,)]:
        raise ParameterError(
            f"Pair {row['id']} needs camera_0, camera_1 (3×3) and pose (rotation 3×3, translation 3), all in numbers."
        )
    if min(found.camera_0[0, 0], found.camera_0[1, 1], found.camera_1[0, 0], found.camera_1[1, 1]) <= 0:
        raise ParameterError(f"The focal lengths of pair {row['id']} must be above 0 px.")
    turn = found.rotation
    if not np.allclose(turn @ turn.T, np.eye(3), atol=1e-3) or np.linalg.det(turn) < 0:
        raise ParameterError(f"The rotation of pair {row['id']} is none.")
    return found


def far_away(cameras: Cameras) -> np.ndarray:
    """The homography (3, 3) of points so far away that the translation does not move them."""
    return cameras.camera_1 @ cameras.rotation @ np.linalg.inv(cameras.camera_0)


def _numbers(value: Any) -> np.ndarray:
    """An array of finite numbers; an empty one for anything else."""
    try:
        array = np.array(value, np.float64)
    except (TypeError, ValueError):
        return np.zeros(0)
    return array if np.isfinite(array).all() else np.zeros(0)


def read_landmarks(path: Path) -> np.ndarray:
    """Landmarks (K, 4) of a CSV with the header x0,y0,x1,y1."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            header, *rows = list(csv.reader(file))
        values = np.array(rows, np.float64)[:, [header.index(name) for name in ("x0", "y0", "x1", "y1")]]
    except (OSError, ValueError, IndexError, csv.Error) as error:
        raise ParameterError(f"{path} is no table of landmarks with the columns x0, y0, x1, y1.") from error
    if not np.isfinite(values).all():
        raise ParameterError(f"{path} has landmarks that are no numbers.")
    return values
