"""HPatches (Balntas et al., CVPR 2017) as LoFTR's paper evaluates homographies on it; the folder is the user's.

108 sequences of six photographs (eight of the 116 are too large and left out, as D2-Net began to), five pairs each: the
first image and one of the others. Shorter sides are resized to 480 px, errors are the mean distance of the corners *in
the resized image_1*, and the homography is OpenCV's RANSAC at 3 px of the 1000 most confident matches. Beside it
stands the estimator of all other tables here. Published figures have been reproduced only with each of these details
(zju3dv/LoFTR, issues 105 and 136; GrumpyZhou/image-matching-toolbox, pull requests 22 and 23).
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from microloftr.errors import ParameterError
from microloftr.evaluation.pair import Pair, spread
from microloftr.images import read_image, resize

SHORT_SIDE = 480
LEFT_OUT = {
    "i_contruction", "i_crownnight", "i_dc", "i_pencils", "i_whitebuilding", "v_artisans", "v_astronautis", "v_talent",
}  # fmt: skip
GROUPS = {"i": "illumination", "v": "viewpoint"}
SUFFIXES = (".ppm", ".png", ".jpg", ".jpeg", ".tif", ".tiff")


class HPatchesPairs:
    """The pairs of a folder of HPatches sequences (`i_…` and `v_…` with 1.ppm to 6.ppm and H_1_2 to H_1_6).

    Images are read when a pair is asked for. Raises ParameterError where there are no sequences, or one is damaged.
    """

    made = False
    split = "hpatches"
    name = "hpatches"
    record = "evaluate_hpatches"
    error = "corners"
    estimators = ("ransac", "magsac")  # the first is the published one

    def __init__(self, folder: str | os.PathLike, limit: int | None = None, short_side: int = SHORT_SIDE) -> None:
        self.folder, self.short_side = Path(folder), short_side
        found = sorted(self.folder.glob("[iv]_*/")) or sorted(self.folder.glob("*/[iv]_*/"))  # (a folder too high)
        sequences = [sequence for sequence in found if sequence.name not in LEFT_OUT]
        if not sequences:
            raise ParameterError(f"{self.folder} holds no HPatches sequences; they are folders named i_… and v_….")
        pairs = [(sequence, number) for sequence in sequences for number in self._numbers(sequence)]
        self._pairs = [pairs[k] for k in spread(len(pairs), limit)]

    def _numbers(self, sequence: Path) -> list[int]:
        """Which images of a sequence pair with the first: those with a homography."""
        matches = [re.fullmatch(r"H_1_(\d+)", file.name) for file in sequence.iterdir()]
        numbers = sorted(int(match[1]) for match in matches if match)
        if not numbers:
            raise ParameterError(f"The sequence {sequence} has no homographies H_1_2, H_1_3 ….")
        return numbers

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, number: int) -> Pair:
        sequence, other = self._pairs[number]
        truth = read_matrix(sequence / f"H_1_{other}")
        images, frames = zip(*(self._resized(image_file(sequence, k)) for k in (1, other)), strict=True)
        return Pair(
            f"hpatches/{sequence.name}/1-{other}",
            GROUPS[sequence.name[0]],
            sequence.name,
            *images,
            frames[1] @ truth @ np.linalg.inv(frames[0]),
            0.0,
            *(image.shape[::-1] for image in images),
        )

    def __iter__(self) -> Iterator[Pair]:
        return (self[number] for number in range(len(self)))

    def _resized(self, path: Path) -> tuple[np.ndarray, np.ndarray]:
        """An image with its shorter side `short_side`, and the matrix that takes its pixels as read there."""
        pixels = read_image(path).pixels
        scale = self.short_side / min(pixels.shape)
        shape = tuple(round(side * scale) for side in pixels.shape)
        return resize(pixels, shape), scaling(pixels.shape[::-1], shape[::-1])


def scaling(size: tuple[int, int], new: tuple[int, int]) -> np.ndarray:
    """The matrix (3, 3) of a resize from `size` to `new` (width, height): pixel centres at integers, edges stay."""
    x, y = (after / before for before, after in zip(size, new, strict=True))
    return np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2], [0, 0, 1]])


def image_file(sequence: Path, number: int) -> Path:
    """The file of image `number` of a sequence. Raises ParameterError where it is missing."""
    for suffix in SUFFIXES:
        if (path := sequence / f"{number}{suffix}").is_file():
            return path
    raise ParameterError(f"The sequence {sequence} has no image {number} ({number}.ppm).")


def read_matrix(path: Path) -> np.ndarray:
    """Nine numbers of a text file as a matrix (3, 3). Raises ParameterError for anything else."""
    try:
        matrix = np.loadtxt(path, dtype=np.float64).reshape(3, 3)
    except (OSError, ValueError) as error:
        raise ParameterError(f"{path} is no homography of 3×3 numbers.") from error
    if not np.isfinite(matrix).all() or abs(np.linalg.det(matrix)) < 1e-12:
        raise ParameterError(f"{path} is no homography that can be inverted.")
    return matrix
