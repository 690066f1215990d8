"""Whole micrographs at the size they were taken in, not crops: a matcher must find its way in a megapixel.

image_0 is the micrograph. image_1 is the largest upright frame of the same shape that a turned, zoomed and slightly
tilted view of it fills, under other light: rotation, zoom and looks of the level *medium*. The truth is exact. Both are
blurred a little and given noise of their own above the micrograph's, since two resamplings of one file share its noise,
and a matcher could match that.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from microloftr.errors import ParameterError
from microloftr.evaluation.metrics import apply_homography, corners, overlap_points
from microloftr.evaluation.pair import Pair, spread

SEEDS = {"validation": 404, "test": 505, "train": 606}
ROTATION = 35.0  # degrees, either way
ZOOM = (0.8, 1.25)
TILT = 0.04  # of the depth, across half the image
OVERLAP_STEPS = 64
RENOISE = 1.5  # times the micrograph's own noise, as in the levels


@dataclass(frozen=True)
class View:
    """What image_1 of one micrograph is made with: its homography and size, and numbers in 0..1 for its looks."""

    homography: np.ndarray
    size: tuple[int, int]
    looks: np.ndarray


class WholePairs:
    """One pair of every micrograph of a split, whole, made anew each time it is asked for, and always the same.

    `source`: "bundled", a folder or a manifest, as `load_micrographs` takes it; for images of one's own.
    """

    made = True
    name = "whole"
    record = "evaluate_whole"
    error = "corners"
    estimators = ("magsac",)

    def __init__(self, split: str = "validation", limit: int | None = None, source: str = "bundled") -> None:
        if split not in SEEDS:
            raise ParameterError(f"There is no split {split!r} of whole micrographs; there are {', '.join(SEEDS)}.")
        self.split, self.limit, self.source = split, limit, source

    @cached_property
    def _micrographs(self) -> list:
        from microloftr.data.micrographs import load_micrographs

        found = load_micrographs(self.split, self.source)
        return [(k, found[k]) for k in spread(len(found), self.limit)]

    def __len__(self) -> int:
        return len(self._micrographs)

    def __getitem__(self, number: int) -> Pair:
        index, micrograph = self._micrographs[number]
        pixels = micrograph.pixels
        view = drawn_view(pixels.shape[1::-1], SEEDS[self.split], index)
        image_0, image_1 = rendered(pixels, view, SEEDS[self.split], index)
        size = image_0.shape[::-1]
        shown = len(overlap_points(view.homography, size, view.size, OVERLAP_STEPS)) / OVERLAP_STEPS**2
        return Pair(
            f"whole/{micrograph.name}",
            self.name,
            micrograph.specimen,
            image_0,
            image_1,
            view.homography,
            0.0,
            size,
            view.size,
            micrograph.modality,
            shown,
        )

    def __iter__(self) -> Iterator[Pair]:
        return (self[number] for number in range(len(self)))


def drawn_view(size: tuple[int, int], seed: int, index: int) -> View:
    """The view of micrograph `index`, of `size` (width, height), from random numbers keyed by seed and index."""
    u = np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, 0, index])).random(24)
    angle = np.deg2rad(ROTATION * (2 * u[0] - 1))
    zoom = np.exp(np.log(ZOOM[0]) + np.log(ZOOM[1] / ZOOM[0]) * u[1])
    half = (np.array(size) - 1) / 2
    tilt = TILT * (2 * u[2:4] - 1) / half
    turned = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    about = np.eye(3)
    about[:2, :2], about[2, :2] = turned, tilt
    about = about @ np.array([[1, 0, -half[0]], [0, 1, -half[1]], [0, 0, 1]])  # its origin is the image's middle
    share, frame = largest_frame(about, size)
    new = tuple(int(side) for side in frame)
    middle = (np.array(new) - 1) / 2
    homography = np.array([[1, 0, middle[0]], [0, 1, middle[1]], [0, 0, 1.0]]) @ about
    if share <= 0:
        raise ParameterError(f"A micrograph of {size[0]}×{size[1]} pixels is too small for a view of it.")
    return View(homography / homography[2, 2], new, u[4:])


def largest_frame(about: np.ndarray, size: tuple[int, int]) -> tuple[float, np.ndarray]:
    """The largest upright frame around the origin, of the shape of `size`, that a view shows nothing but image in.

    about (3, 3): pixels of the image to the view, its middle to the origin. Returns its share of `size` and its whole
    sides (2,), by halving the interval: a frame fits where its four corners lie on the image.
    """
    back, low, high = np.linalg.inv(about), 0.0, 2.0
    for _ in range(30):
        share = (low + high) / 2
        sides = np.floor(np.array(size) * share)
        outline = corners(tuple(sides)) - (sides - 1) / 2
        there = apply_homography(back, outline)
        inside = (there >= 0).all() and (there <= np.array(size) - 1).all()
        low, high = (share, high) if inside and sides.min() >= 2 else (low, share)
    return low, np.floor(np.array(size) * low)


def rendered(pixels: np.ndarray, view: View, seed: int, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Both images (H, W) uint8 of a micrograph (H, W) or (H, W, 3) uint8: resampled, blurred, lit, bent and noisy."""
    import torch

    from microloftr.data import appearance
    from microloftr.data.levels import LEVELS
    from microloftr.data.micrographs import estimate_noise
    from microloftr.geometry import warp_image
    from microloftr.pixels import to_grey

    ranges, u = LEVELS["medium"].appearance, view.looks
    grey = pixels.astype(np.float32) / 255
    whole = torch.from_numpy(np.ascontiguousarray(to_grey(grey) if grey.ndim == 3 else grey))[None, None].double()
    back = torch.from_numpy(np.linalg.inv(view.homography))[None]
    seen = warp_image(whole, back, view.size[1], view.size[0], mode="bicubic").clamp(0, 1)
    own = max(RENOISE * estimate_noise(pixels), 0.004)
    blurs = (0.5 + 0.3 * u[0], max(0.5 + 0.3 * u[1], ranges.blur[0] + (ranges.blur[1] - ranges.blur[0]) * u[2]))
    low, high = np.log(ranges.gamma)
    gammas = (1.0, float(np.exp(low + (high - low) * u[3])))
    light = np.ones((2, 9))
    light[1] += ranges.light * (2 * u[4:13] - 1)
    generator = torch.Generator().manual_seed(seed * 1_000_003 + index)
    made = []
    for k, (image, noise) in enumerate(((whole, own), (seen, float(np.hypot(own, ranges.noise))))):
        image = appearance.blur(image.float(), torch.tensor([blurs[k]], dtype=torch.float32))
        image = appearance.uneven_light(image, torch.from_numpy(light[k]).float().view(1, 1, 3, 3))
        image = appearance.gamma(image, torch.tensor([gammas[k]], dtype=torch.float32))
        image = appearance.sensor_noise(image, torch.tensor([torch.inf]), torch.tensor([noise]).float(), generator)
        made.append((image[0, 0].clamp(0, 1) * 255).round().byte().numpy())
    return made[0], made[1]
