"""`Matcher`: two images in, `Matches` out. Find roughly on thumbnails, then match near the identity at full size.

The network bears turns of about ±45° and scales of 0.6 to 1.6. Image_1's thumbnail is therefore tried in its four
quarter turns, which cost no interpolation; the turn whose matches agree best on one similarity gives a first
transform. Image_1 is warped by it and matched again where the two images overlap, and the points are taken back.
"""

import math
from dataclasses import dataclass, fields, replace
from importlib import import_module
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import torch

from microloftr.device import choose_device
from microloftr.errors import ParameterError, WeightsError
from microloftr.images import Image, as_image, resize
from microloftr.matches import Matches
from microloftr.model.loftr import LoFTR
from microloftr.model.published import RELEASES, load_file, load_release
from microloftr.model.trace import MatchedPoints
from microloftr.model.weights import load_model, random_model, shipped

MINIMUM_AGREEING = 8


class MatchesTwoImages(Protocol):
    """What every matcher offers: ours, the baselines, and yours."""

    def match(self, image_0, image_1) -> Matches: ...


@dataclass(frozen=True)
class MatcherOptions:
    """How a Matcher works. Sides in pixels; `border` in coarse cells of 8 pixels."""

    threshold: float | None = None  # least confidence of a match; None: what the model's configuration says
    border: int = 0
    search: bool = True  # try quarter turns and match again after warping
    search_side: int = 320  # long side of the thumbnails
    long_side: int = 800  # larger images are shrunk to this before matching; points come back in pixels as read

    def __post_init__(self) -> None:
        if self.threshold is not None and not 0 <= self.threshold < 1:
            raise ParameterError(f"threshold is {self.threshold}; it must be at least 0 and below 1")
        if self.border < 0 or min(self.search_side, self.long_side) < 64:
            raise ParameterError("border must be 0 or more, and search_side and long_side at least 64 pixels")


class Matcher:
    """Matches two micrographs with a model of the line.

    `Matcher.from_pretrained("micro")`, then `matcher.match("a.tif", "b.tif")`.
    """

    def __init__(self, model: LoFTR, options: MatcherOptions | None = None, device: str = "auto") -> None:
        self.device = choose_device(device)
        self.model = model.to(self.device).eval()
        options = options or MatcherOptions()
        self.options = options if options.threshold is not None else replace(options, threshold=model.config.threshold)

    @classmethod
    def from_pretrained(cls, name: str = "micro", device: str = "auto", **options) -> MatchesTwoImages:
        """A matcher by name: shipped weights, a .safetensors file, the published "loftr-outdoor" or "loftr-indoor"
        (fetched the first time) or their .ckpt files, "random:PRESET", or a dotted name of your own.

        Options are those of MatcherOptions. Raises WeightsError or ParameterError.
        """
        chosen = _options(options)
        if name.startswith("random:"):
            return cls(random_model(name.removeprefix("random:")), chosen, device)
        if name in RELEASES:
            return cls(load_release(name), chosen, device)
        if name.endswith(".ckpt"):
            return cls(load_file(name), chosen, device)
        if name.endswith(".safetensors") or Path(name).is_file():
            return cls(load_model(name), chosen, device)
        if "." in name:
            return _by_dotted_name(name)
        return cls(load_model(shipped(name)), chosen, device)

    def match(self, image_0, image_1) -> Matches:
        """Match paths, arrays (H, W) or (H, W, 3), or what read_image returns. The result may be empty."""
        image_0, image_1 = as_image(image_0), as_image(image_1)
        small_0, scale_0 = _shrunk(image_0.pixels, self.options.long_side)
        small_1, scale_1 = _shrunk(image_1.pixels, self.options.long_side)
        found = self._search(small_0, small_1) if self.options.search else None
        points = self._points(small_0, small_1) if found is None else self._again(small_0, small_1, found)
        return _matches(points, image_0, image_1, scale_0, scale_1)

    def _search(self, pixels_0: np.ndarray, pixels_1: np.ndarray) -> np.ndarray | None:
        """The first transform (2, 3), points of image_0 → points of image_1, or None where no turn gives one."""
        thumb_0, scale_0 = _shrunk(pixels_0, self.options.search_side)
        thumb_1, scale_1 = _shrunk(pixels_1, self.options.search_side)
        best, most = None, MINIMUM_AGREEING - 1
        for turns in range(4):
            points = self._points(thumb_0, np.ascontiguousarray(np.rot90(thumb_1, turns)), threshold=0.05)
            if len(points.points_0) < MINIMUM_AGREEING:
                continue
            similarity, agreeing = _similarity(points.points_0, points.points_1)
            if similarity is not None and agreeing > most:
                best, most = _unturn(turns, thumb_1.shape) @ np.vstack((similarity, (0, 0, 1))), agreeing
        if best is None:
            return None
        return (np.linalg.inv(_frame(scale_1)) @ best @ _frame(scale_0))[:2]

    def _again(self, pixels_0: np.ndarray, pixels_1: np.ndarray, found: np.ndarray) -> MatchedPoints:
        """Match image_0 with image_1 warped into its frame, and take the points back."""
        height, width = pixels_0.shape
        blurred = _antialiased(pixels_1, math.sqrt(abs(np.linalg.det(found[:, :2]))))
        warped = cv2.warpAffine(
            blurred,
            found,
            (width, height),
            flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=float(pixels_1.mean()),
        )
        points = self._points(pixels_0, np.clip(warped, 0, 1))
        back_1, back_coarse = (p @ found[:, :2].T + found[:, 2] for p in (points.points_1, points.coarse_points_1))
        inside = ((back_1 > -0.5) & (back_1 < np.array(pixels_1.shape[::-1]) - 0.5)).all(1)
        return MatchedPoints(
            points.batch_index[inside],
            points.points_0[inside],
            back_1[inside],
            back_coarse[inside],
            points.confidence[inside],
        )

    def _points(self, pixels_0: np.ndarray, pixels_1: np.ndarray, threshold: float | None = None) -> MatchedPoints:
        """One forward pass; NumPy float64 arrays in the pixels given, whose centres are whole numbers."""
        images = (torch.from_numpy(p)[None, None].to(self.device) for p in (pixels_0, pixels_1))
        with torch.inference_mode():
            found = self.model(*images, self.options.threshold if threshold is None else threshold, self.options.border)
        arrays = {field.name: getattr(found, field.name).double().cpu().numpy() for field in fields(found)}
        for name in ("points_0", "points_1", "coarse_points_1"):
            arrays[name] -= self.model.config.pixel_centre
        return MatchedPoints(**arrays)


def _similarity(points_0: np.ndarray, points_1: np.ndarray) -> tuple[np.ndarray | None, int]:
    """The similarity (2, 3) that most matches agree on within 8 pixels (a coarse cell), and how many do."""
    cv2.setRNGSeed(0)
    found, inliers = cv2.estimateAffinePartial2D(
        points_0, points_1, method=cv2.RANSAC, ransacReprojThreshold=8.0, maxIters=3000
    )
    if found is None or not 0.25 < math.sqrt(abs(np.linalg.det(found[:, :2]))) < 4:
        return None, 0
    return found, int(inliers.sum())


def _shrunk(pixels: np.ndarray, long_side: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixels with their long side at most `long_side`, and the scales (x, y) that this took."""
    height, width = pixels.shape
    if max(height, width) <= long_side:
        return pixels, np.ones(2)
    factor = long_side / max(height, width)
    shape = (max(round(height * factor), 1), max(round(width * factor), 1))
    return resize(pixels, shape), np.array([shape[1] / width, shape[0] / height])


def _frame(scale: np.ndarray) -> np.ndarray:
    """Matrix (3, 3) from pixels to pixels of the shrunk image: x ↦ (x + ½)·s − ½."""
    x, y = scale
    return np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2], [0, 0, 1]])


def _unturn(turns: int, shape: tuple[int, int]) -> np.ndarray:
    """Matrix (3, 3) from points of np.rot90(image, turns) to points of the image of this shape."""
    height, width = shape
    return np.array(
        [
            np.eye(3),
            [[0, -1, width - 1], [1, 0, 0], [0, 0, 1]],
            [[-1, 0, width - 1], [0, -1, height - 1], [0, 0, 1]],
            [[0, 1, 0], [-1, 0, height - 1], [0, 0, 1]],
        ][turns],
        dtype=float,
    )


def _antialiased(pixels: np.ndarray, shrink: float) -> np.ndarray:
    """Pixels blurred for being sampled every `shrink` pixels; untouched where nothing shrinks."""
    if shrink <= 1.05:
        return pixels
    return cv2.GaussianBlur(pixels, (0, 0), 0.5 * math.sqrt(shrink**2 - 1), borderType=cv2.BORDER_REFLECT_101)


def _matches(
    points: MatchedPoints, image_0: Image, image_1: Image, scale_0: np.ndarray, scale_1: np.ndarray
) -> Matches:
    """Points of the shrunk images as Matches in pixels of the images as read."""
    order = np.argsort(-points.confidence, kind="stable")
    points_1, coarse_1 = ((p[order] + 0.5) / scale_1 - 0.5 for p in (points.points_1, points.coarse_points_1))
    return Matches(
        (points.points_0[order] + 0.5) / scale_0 - 0.5,
        points_1,
        points.confidence[order],
        size_0=image_0.pixels.shape[::-1],
        size_1=image_1.pixels.shape[::-1],
        um_per_px_0=image_0.um_per_px,
        um_per_px_1=image_1.um_per_px,
        coarse_points_1=coarse_1,
    )


def _options(values: dict) -> MatcherOptions:
    try:
        return replace(MatcherOptions(), **values)
    except TypeError:
        known = MatcherOptions.__dataclass_fields__
        unknown = sorted(set(values) - set(known))
        raise ParameterError(f"a Matcher has no option {unknown[0]!r}; it has {', '.join(known)}") from None


def _by_dotted_name(name: str) -> MatchesTwoImages:
    module, _, attribute = name.rpartition(".")
    try:
        made = getattr(import_module(module), attribute)()
    except (ImportError, AttributeError) as error:
        raise WeightsError(
            f"there is no matcher {name!r}: {error}; give package.module.Class or the name of weights"
        ) from error
    if not callable(getattr(made, "match", None)):
        raise WeightsError(f"{name} makes no matcher; its class must have match(image_0, image_1) -> Matches")
    return made
