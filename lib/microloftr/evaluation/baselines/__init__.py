"""Matchers to stand beside ours, one file per idea.

Images are what `microloftr.images.as_image` takes (a path, an array, an Image); the answer is `Matches`.
`microloftr.evaluation.matchers.get_matcher` knows them by name.
"""

from microloftr.evaluation.baselines.common import NO_RESIZE, made_matches
from microloftr.evaluation.baselines.phase import PhaseCorrelation, overlap_correlation
from microloftr.evaluation.baselines.rootsift import RootSIFT, mutual_matches

__all__ = ["NO_RESIZE", "PhaseCorrelation", "RootSIFT", "made_matches", "mutual_matches", "overlap_correlation"]
