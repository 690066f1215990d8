"""From matches to a transform, and what is done with it."""

from microloftr.registration.transform import Transform, estimate_transform, find_homography, try_family

__all__ = ["Transform", "estimate_transform", "find_homography", "try_family"]
