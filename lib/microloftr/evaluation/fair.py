"""What makes RootSIFT a fair baseline, measured on micrographs, and which records tell its scores.

A quarter turn of an array moves every pixel centre exactly, so that whatever the matches are off by is the detector's.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from microloftr.errors import ParameterError
from microloftr.evaluation.matchers import MatcherLike
from microloftr.evaluation.pair import spread
from microloftr.evaluation.summary import CORRECT
from microloftr.results import results_folder


@dataclass(frozen=True, eq=False)
class Turned:
    """Matches of an image with itself, turned: how many are right (within 3 px), and by how much those are off.

    errors (M, 2): found − true points of image_1, px; share: right ones of all.
    """

    errors: np.ndarray
    share: float

    def __len__(self) -> int:
        return len(self.errors)

    @property
    def bias(self) -> np.ndarray:
        """Mean error (2,); NaN without a right match."""
        return self.errors.mean(axis=0) if len(self) else np.full(2, np.nan)

    @property
    def median(self) -> float:
        """Median distance, px; NaN without a right match."""
        return float(np.median(np.hypot(*self.errors.T))) if len(self) else float("nan")


def turned(
    matcher: MatcherLike, pixels: np.ndarray, turns: int, contrast: float = 1.0, noise: float = 0.02, seed: int = 0
) -> Turned:
    """Match an image (H, W) in 0..1 with itself, turned by `turns` quarters, each with noise of its own.

    Both are shrunk around ½ to `contrast` of their contrast first. Raises ParameterError for anything but 1, 2 or 3.
    """
    if turns not in (1, 2, 3):
        raise ParameterError(f"An image is turned by 1, 2 or 3 quarters here, not by {turns}.")
    height, width = pixels.shape
    generator = np.random.default_rng(seed)
    flat = 0.5 + contrast * (pixels - 0.5)
    noisy = [flat + generator.normal(0, contrast * noise, pixels.shape) for _ in range(2)]
    image_0, image_1 = noisy[0].clip(0, 1), np.ascontiguousarray(np.rot90(noisy[1], turns)).clip(0, 1)
    matches = matcher.match(image_0.astype(np.float32), image_1.astype(np.float32))
    x, y = matches.points_0.T
    true = {1: (y, width - 1 - x), 2: (width - 1 - x, height - 1 - y), 3: (height - 1 - y, x)}[turns]
    errors = matches.points_1 - np.stack(true, axis=-1)
    right = np.hypot(*errors.T) < CORRECT
    return Turned(errors[right], float(right.mean()) if len(right) else 0.0)


def records_with(key: str, folder: Path | None = None) -> dict[str, bool]:
    """Every record that compares matchers by AUC or by their confidence, and whether it tells of the matcher `key`.

    Those are the records with more than one of `matchers`, of which one is not ours. The table of baselines_real begins
    with the rows of evaluate_real, so that it counts as that one.
    """
    found = {}
    for path in sorted((folder or results_folder()).glob("*.json")):
        matchers = json.loads(path.read_text(encoding="utf-8"))["values"].get("matchers")
        if path.stem == "baselines_real":
            continue
        if isinstance(matchers, dict) and len(matchers) > 1 and not all(_ours(name) for name in matchers):
            found[path.stem] = key in matchers
    return found


def _ours(key: str) -> bool:
    return key.startswith(("micro", "one_conv"))


def fields(count: int, size: int, split: str = "validation") -> dict[str, np.ndarray]:
    """The middles (size, size) in 0..1 of `count` bundled micrographs that are spread over a split, by name."""
    from microloftr.data.fixed import split_atlas  # torch, when first needed

    atlas, found = split_atlas(split), {}
    for k in spread(len(atlas), count):
        start, height, width = (int(table[k, 0, 0]) for table in (atlas.offset, atlas.height, atlas.width))
        grey = atlas.values[start : start + height * width].view(height, width).numpy()
        top, left = (height - size) // 2, (width - size) // 2
        if min(top, left) < 0:
            raise ParameterError(f"{atlas.names[k]} is smaller than {size} px.")
        found[atlas.names[k]] = grey[top : top + size, left : left + size].astype(np.float32) / 255
    return found
