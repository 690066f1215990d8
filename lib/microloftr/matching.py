"""`Matcher`: two images in, `Matches` out. The network finds, the pixels decide.

The network looks at thumbnails in the four quarter turns of image_1 (search.py) and proposes first transforms. Each is
tried on the pixels (guided.py): where patches agree all over the overlap, the transform was right, and what agrees are
the matches, dense and to a fraction of a pixel. Where none is supported, image_1 is warped by the most agreed one, and
the network's own matches of this second look are the answer, half as sure, if there are any. At last all pixels of the
overlap are aligned at once (direct.py), and what of the points was noise goes.
"""

from dataclasses import dataclass, fields, replace
from importlib import import_module
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from microloftr.calibration import Calibration, shipped_calibration
from microloftr.device import choose_device
from microloftr.direct import aligned
from microloftr.drawn import drawn_to
from microloftr.errors import WeightsError
from microloftr.guided import SHARP, guided_matches, homography_of, moved, warped_onto
from microloftr.images import Image, as_image
from microloftr.matches import Matches
from microloftr.model.loftr import LoFTR
from microloftr.model.published import RELEASES, load_file, load_release
from microloftr.model.trace import MatchedPoints
from microloftr.model.weights import load_model, random_model, shipped
from microloftr.options import MatcherOptions, options_from
from microloftr.proposals import SUPPORTED, proposed
from microloftr.search import View, frame, hypotheses, shrunk, unshrunk
from microloftr.shared_part import shared_part

ASIDE = 16.0  # pixels beside the voted place within which an unsupported but clear vote's matches are believed


class MatchesTwoImages(Protocol):
    """What every matcher offers: ours, the baselines, and yours."""

    def match(self, image_0, image_1) -> Matches: ...


@dataclass(frozen=True, eq=False)
class _Found:
    """Points (M, 2) in pixels as read, where image_1's were expected, and raw confidence (M,)."""

    points_0: np.ndarray
    points_1: np.ndarray
    coarse_1: np.ndarray
    confidence: np.ndarray


class Matcher:
    """Matches two micrographs with a model of the line.

    `Matcher.from_pretrained("micro")`, then `matcher.match("a.tif", "b.tif")`.
    """

    def __init__(
        self,
        model: LoFTR,
        options: MatcherOptions | None = None,
        device: str = "auto",
        calibration: Calibration | None = None,
    ) -> None:
        self.device = choose_device(device)
        self.model = model.to(self.device).eval()
        options = options or MatcherOptions()
        self.options = options if options.threshold is not None else replace(options, threshold=model.config.threshold)
        self.calibration = calibration

    @classmethod
    def from_pretrained(cls, name: str = "micro", device: str = "auto", **options) -> MatchesTwoImages:
        """A matcher by name: shipped weights, a .safetensors file, the published "loftr-outdoor" or "loftr-indoor"
        (fetched the first time) or their .ckpt files, "random:PRESET", or a dotted name of your own.

        Options are those of MatcherOptions. Raises WeightsError or ParameterError.
        """
        chosen = options_from(options)
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
        calibration = shipped_calibration(name) if chosen.search and chosen.align else None
        return cls(load_model(shipped(name)), chosen, device, calibration)

    def match(self, image_0, image_1) -> Matches:
        """Match paths, arrays (H, W) or (H, W, 3), or what read_image returns. The result may be empty."""
        image_0, image_1 = as_image(image_0), as_image(image_1)
        pixels_0, pixels_1 = image_0.pixels, image_1.pixels
        known = _magnified(image_0, image_1)
        if not self.options.search:
            found = self._second_look(pixels_0, pixels_1, np.eye(3), as_they_are=True)
        elif self.options.align:
            found = self._followed(pixels_0, pixels_1, known)
        else:
            votes = hypotheses(pixels_0, pixels_1, self.options.search_side, self._all_points)
            most = max(votes, key=lambda hypothesis: hypothesis.agreeing, default=None)
            found = self._second_look(pixels_0, pixels_1, most.matrix if most else np.eye(3), as_they_are=not most)
        if self.options.search and self.options.align and self.options.direct:
            found = self._drawn_together(found, pixels_0, pixels_1)
        return _matches(found, image_0, image_1, self.calibration)

    def _followed(self, pixels_0: np.ndarray, pixels_1: np.ndarray, known: float | None = None) -> _Found:
        """What the pixels support of what the network proposes, else the network's own second look."""
        (large_0, scale_0), (large_1, scale_1) = (shrunk(p, self.options.long_side) for p in (pixels_0, pixels_1))
        best = proposed(large_0, large_1, self.options, self._all_points, known)
        guided, view = best.guided, best.view
        if guided is None:
            if best.most is None:
                return _NOTHING
            first = np.linalg.inv(frame(scale_1)) @ best.most @ frame(scale_0)
            found = self._second_look(pixels_0, pixels_1, first, near=ASIDE if best.clear else None)
            return replace(found, confidence=found.confidence / 2)
        for look in dict.fromkeys((SHARP, guided.look)) if view.smaller else (SHARP,) * (guided.look != SHARP):
            first = view.in_large(guided.homography)
            sharper = guided_matches(large_0, large_1, first, (guided.form,), look, near=True)
            if sharper is not None and sharper.support > guided.support / 2:
                guided, view = sharper, View.of(large_0, large_1, self.options.long_side)
                break
        all_0, all_1 = view.scale_0 * scale_0, view.scale_1 * scale_1
        points_1, expected = (unshrunk(p, all_1) for p in (guided.points_1, guided.expected_1))
        confidence = (np.clip(guided.similarity, 0, 1) + (guided.support > SUPPORTED)) / 2
        return _Found(unshrunk(guided.points_0, all_0), points_1, expected, confidence)

    def _drawn_together(self, found: _Found, pixels_0: np.ndarray, pixels_1: np.ndarray) -> _Found:
        """Points drawn to the transform that all pixels of the overlap agree on, as far as they scatter around it."""
        first = homography_of(found.points_0, found.points_1)
        if first is None:
            return found
        part = shared_part(pixels_0, pixels_1, first, self.options.direct_side)
        if part is None:
            return found
        to_0, to_1 = part.to_0, part.to_1
        first = to_1 @ first @ np.linalg.inv(to_0)
        points_0, points_1 = moved(found.points_0, to_0), moved(found.points_1, to_1)
        size_0, size_1 = pixels_0.shape[::-1], pixels_1.shape[::-1]
        transform = aligned(part.pixels_0, part.pixels_1, first, points_0, points_1, to_0, to_1, size_0, size_1)
        if transform is None:
            return found
        points_1 = drawn_to(transform, points_0, points_1)
        return replace(found, points_1=moved(points_1, np.linalg.inv(to_1)))

    def _all_points(self, thumb_0: np.ndarray, thumb_1: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        points = self._points(thumb_0, thumb_1, threshold=0.0)
        return points.points_0, points.points_1

    def _second_look(
        self,
        pixels_0: np.ndarray,
        pixels_1: np.ndarray,
        first: np.ndarray,
        as_they_are: bool = False,
        near: float | None = None,
    ) -> _Found:
        """The network's matches of image_0 and image_1 warped into its frame by `first` (3, 3), points taken back.

        near: take all mutual matches, however unsure, that lie so many pixels at most from where `first` has them.
        """
        (small_0, scale_0), (small_1, scale_1) = (shrunk(p, self.options.network_side) for p in (pixels_0, pixels_1))
        first = frame(scale_1) @ first @ np.linalg.inv(frame(scale_0))
        other = small_1 if as_they_are else warped_onto(small_0.shape, small_1, first)
        points = self._points(small_0, other, None if near is None else 0.0)
        both = points.points_1, points.coarse_points_1
        points_1, coarse_1 = both if as_they_are else (moved(p, first) for p in both)
        inside = ((points_1 > -0.5) & (points_1 < np.array(small_1.shape[::-1]) - 0.5)).all(1)
        if near is not None:
            inside &= np.linalg.norm(points.points_1 - points.points_0, axis=1) < near
        taken = (p[inside] for p in (points.points_0, points_1, coarse_1))
        as_read = (unshrunk(p, scale) for p, scale in zip(taken, (scale_0, scale_1, scale_1), strict=True))
        return _Found(*as_read, points.confidence[inside])

    def _points(self, pixels_0: np.ndarray, pixels_1: np.ndarray, threshold: float | None = None) -> MatchedPoints:
        """One forward pass; NumPy float64 arrays in the pixels given, whose centres are whole numbers."""
        images = (torch.from_numpy(p)[None, None].to(self.device) for p in (pixels_0, pixels_1))
        with torch.inference_mode():
            found = self.model(*images, self.options.threshold if threshold is None else threshold, self.options.border)
        arrays = {field.name: getattr(found, field.name).double().cpu().numpy() for field in fields(found)}
        for name in ("points_0", "points_1", "coarse_points_1"):
            arrays[name] -= self.model.config.pixel_centre
        return MatchedPoints(**arrays)


_NOTHING = _Found(np.zeros((0, 2)), np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0))


def _matches(found: _Found, image_0: Image, image_1: Image, calibration: Calibration | None) -> Matches:
    """Matches, the surest first."""
    order = np.argsort(-found.confidence, kind="stable")
    confidence = np.clip(found.confidence[order], 0, 1)
    return Matches(
        found.points_0[order],
        found.points_1[order],
        confidence if calibration is None else calibration.apply(confidence),
        size_0=image_0.pixels.shape[::-1],
        size_1=image_1.pixels.shape[::-1],
        um_per_px_0=image_0.um_per_px,
        um_per_px_1=image_1.um_per_px,
        coarse_points_1=found.coarse_1[order],
    )


def _magnified(image_0: Image, image_1: Image) -> float | None:
    """How much larger image_1 shows things beside its long side, by the pixel sizes; None where one is not known."""
    if image_0.um_per_px is None or image_1.um_per_px is None:
        return None
    long_0, long_1 = max(image_0.pixels.shape), max(image_1.pixels.shape)
    return float(np.mean(image_0.um_per_px) / np.mean(image_1.um_per_px) * long_0 / long_1)


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
