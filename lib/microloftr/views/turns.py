"""Does a Matcher bear any rotation? image_1 of a case is turned, and the matches near the truth are counted."""

import math
from collections.abc import Sequence

import numpy as np
import torch

from microloftr.geometry import warp_image
from microloftr.images import Image
from microloftr.matching import Matcher
from microloftr.registration.families import move_points
from microloftr.registration.transform import Transform
from microloftr.views.case import Case

RIGHT = 3.0  # pixels from the truth


def turn_image(pixels: np.ndarray, degrees: float) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (H, W) turned clockwise on a canvas that holds them all, and the matrix (3, 3) of their points.

    What lies outside the image takes its mean.
    """
    angle = math.radians(degrees)
    cos, sin = math.cos(angle), math.sin(angle)
    height, width = pixels.shape
    canvas = (
        math.ceil(round(abs(width * cos) + abs(height * sin), 6)),
        math.ceil(round(abs(width * sin) + abs(height * cos), 6)),
    )
    matrix = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
    centres = [(np.array(size) - 1) / 2 for size in ((width, height), canvas)]
    matrix[:2, 2] = centres[1] - matrix[:2, :2] @ centres[0]
    both = torch.from_numpy(np.stack((pixels, np.ones_like(pixels))))[None]
    back = torch.from_numpy(np.linalg.inv(matrix))[None]
    turned, inside = warp_image(both, back, canvas[1], canvas[0], mode="bicubic")[0].numpy()
    mean = float(pixels.mean())
    return np.clip(np.where(inside > 0.99, turned, mean), 0, 1).astype(np.float32), matrix


def turned_to(case: Case, degrees: float) -> tuple[np.ndarray, np.ndarray]:
    """image_1 turned until the rotation from image_0 to it is `degrees`, and the matrix of its points."""
    sizes = [image.pixels.shape[::-1] for image in (case.image_0, case.image_1)]
    own = Transform(case.homography, "homography", *sizes).rotation_deg
    return turn_image(case.image_1.pixels, degrees - own)


def count_right(case: Case, matchers: dict[str, Matcher], degrees: Sequence[float]) -> dict[str, list[int]]:
    """Matches within RIGHT pixels of the truth, by matcher and by the rotation (degrees) between the two images."""
    counts: dict[str, list[int]] = {name: [] for name in matchers}
    for wanted in degrees:
        pixels, matrix = turned_to(case, wanted)
        for name, matcher in matchers.items():
            matches = matcher.match(case.image_0, Image(pixels, None, "turned"))
            true = move_points(matches.points_0, matrix @ case.homography)
            counts[name].append(int((np.linalg.norm(matches.points_1 - true, axis=1) < RIGHT).sum()))
    return counts


def network_calls(case: Case, matcher: Matcher) -> list[tuple[list[int], list[int]]]:
    """Shapes of the two images at every call of the network while `matcher` matches the case."""
    calls: list[tuple[list[int], list[int]]] = []
    hook = matcher.model.register_forward_pre_hook(
        lambda _, given: calls.append((list(given[0].shape), list(given[1].shape)))
    )
    try:
        matcher.match(case.image_0, case.image_1)
    finally:
        hook.remove()
    return calls
