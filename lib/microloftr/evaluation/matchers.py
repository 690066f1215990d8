"""Matchers by name: ours, the baselines, the peers, and anybody's class with `.match(image_0, image_1)`."""

import os
import re
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from microloftr.images import as_image
from microloftr.matches import Matches

DEFAULT_MATCHERS = ("micro", "one_conv", "rootsift", "xfeat", "phase_correlation", "micro-random", "micro-zeros")

BASELINES = {  # name: module, class and what it is made with
    "rootsift": ("baselines.rootsift", "RootSIFT"),
    "orb": ("baselines.binary", "ORB"),
    "akaze": ("baselines.binary", "AKAZE"),
    "phase_correlation": ("baselines.phase", "PhaseCorrelation"),
    "ecc": ("baselines.ecc", "ECC"),
    "rootsift_ecc": ("baselines.ecc", "ECC", "rootsift"),
    "kornia_sift": ("baselines.kornia_features", "KorniaSIFT"),
    "kornia_hessian": ("baselines.kornia_features", "KorniaHessian"),
    "kornia_registrator": ("baselines.kornia_registrator", "KorniaRegistrator"),
    "kornia_loftr": ("baselines.kornia_loftr", "KorniaLoFTR"),
    "aliked_lightglue": ("baselines.aliked_lightglue", "AlikedLightGlue"),
    "xfeat": ("xfeat", "XFeatStar"),
}
WITH_PLACE = {"kornia_loftr", "aliked_lightglue"}


class MatcherLike(Protocol):
    """Anything that matches; the tables tell its `resize`, a few words, where it has that."""

    def match(self, image_0: Any, image_1: Any) -> Matches: ...


def get_matcher(name: str) -> MatcherLike:
    """The matcher of a name: one of BASELINES, NAME:PLACE for one whose weights lie in a place of yours, one_conv,
    PRESET-random (untrained) or PRESET-zeros (trained, and shown black images), these three the network alone;
    one_conv-searched or PRESET-random-searched, the whole Matcher with the same weights; or what
    `Matcher.from_pretrained` takes: a preset of ours, a .safetensors file, the dotted name of a class with `.match`.

    Raises WeightsError for a name that leads nowhere.
    """
    key, colon, place = name.partition(":")
    if key in BASELINES and (not colon or key in WITH_PLACE):
        module, made, *given = BASELINES[key]
        if key in WITH_PLACE:
            given = [place]
        return getattr(import_module(f"microloftr.evaluation.{module}"), made)(*given)
    from microloftr.matching import Matcher  # torch is needed by the learned matchers alone

    if blind := re.fullmatch(r"(\w+)-zeros", name):
        return Blind(Matcher.from_pretrained(blind[1], search=False))
    if found := re.fullmatch(r"(?:(\w+)-random|one_conv)(-searched)?", name):
        weights = f"random:{found[1]}" if found[1] else "one_conv"
        return Matcher.from_pretrained(weights, search=bool(found[2]))  # it proposes little: trying all takes long
    return Matcher.from_pretrained(name)


class Blind:
    """A matcher that is shown black images of the same sizes: what it says without looking, from positions alone."""

    def __init__(self, matcher: Any) -> None:
        self._matcher, self.model, self.options = matcher, matcher.model, matcher.options

    def match(self, image_0: Any, image_1: Any) -> Matches:
        """Matches of black with black."""
        images = (as_image(image) for image in (image_0, image_1))
        return self._matcher.match(*(replace(image, pixels=np.zeros_like(image.pixels)) for image in images))


def matcher_key(name: str) -> str:
    """The name as a key of results and folders: letters, digits and _ only, of a path its stem."""
    shown = public_name(name)
    stem = Path(shown).stem if name.endswith(".safetensors") or (os.sep in name and shown not in BASELINES) else shown
    return re.sub(r"[^0-9A-Za-z]+", "_", stem).strip("_")


def public_name(name: str) -> str:
    """The name as records and tables tell it: without the place of files on this machine."""
    key, colon, _ = name.partition(":")
    return key if colon and key in WITH_PLACE else Path(name).name
