"""Matchers by name: ours, the baselines, the peers, and anybody's class with `.match(image_0, image_1)`."""

import os
import re
from pathlib import Path
from typing import Any, Protocol

from microloftr.matches import Matches

DEFAULT_MATCHERS = ("micro", "one_conv", "rootsift", "xfeat", "phase_correlation", "micro-random")


class MatcherLike(Protocol):
    """Anything that matches; the tables tell its `resize`, a few words, where it has that."""

    def match(self, image_0: Any, image_1: Any) -> Matches: ...


def get_matcher(name: str) -> MatcherLike:
    """The matcher of a name: rootsift, phase_correlation, xfeat (XFeat*), one_conv or PRESET-random (untrained), both
    the network alone, or what `Matcher.from_pretrained` takes: a preset of ours, a .safetensors file, the dotted name
    of a class with `.match`.

    Raises WeightsError for a name that leads nowhere.
    """
    if name == "rootsift":
        from microloftr.evaluation.baselines import RootSIFT

        return RootSIFT()
    if name == "phase_correlation":
        from microloftr.evaluation.baselines import PhaseCorrelation

        return PhaseCorrelation()
    if name == "xfeat":
        from microloftr.evaluation.xfeat import XFeatStar

        return XFeatStar()
    from microloftr.matching import Matcher  # torch is needed by the learned matchers alone

    alone = re.sub(r"^(\w+)-random$", r"random:\1", name)
    if alone != name or name == "one_conv":  # networks that propose little: trying all of it would take hours
        return Matcher.from_pretrained(alone, search=False)
    return Matcher.from_pretrained(name)


def matcher_key(name: str) -> str:
    """The name as a key of results and folders: letters, digits and _ only, of a path its stem."""
    stem = Path(name).stem if name.endswith(".safetensors") or os.sep in name else name
    return re.sub(r"[^0-9A-Za-z]+", "_", stem).strip("_")
