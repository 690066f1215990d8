"""Guided matching: from a rough first transform to dense points, no further than the pixels agree.

Image_1 is warped onto image_0 by what is known; a grid over the overlap is followed (alignment.py); what agrees gives a
better homography; twice more with that one. Images that look different are tried in every form, and the one with the
most support is taken. Nothing may come of it: then the pixels do not support the transform.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from microloftr.alignment import FORMS, Points, follow, form_of

LEAST_POINTS = 12
ROUNDS = 2
REACH = 4.0  # pixels that a guided point may lie from where it is expected
FIRST_REACH = 24.0
FIRST_SHARE = 0.03  # of the coarse grid's places that must agree on one similarity; by chance one in a hundred does
LOOP = 1.0  # pixels
AGREES = 1.0  # pixels from the homography within which a point supports it
MARGIN = 2.0
MOST_POINTS = 2000
LEAST_PLACES = 200  # support is a share of at least so many: a narrow overlap needs as many points that agree


@dataclass(frozen=True)
class Look:
    """How closely to look: blur, the window's side, and the least similarity of two patches."""

    sigma: float
    side: int
    similarity: float


SHARP = Look(0.0, 21, 0.5)
NOISY = Look(1.0, 31, 0.3)


@dataclass(frozen=True, eq=False)
class Guided:
    """M points (M, 2) of both images, similarity (M,), where the first transform put them, the homography (3, 3).

    support: similarity of the points that agree with the homography, summed and divided by the number of places looked
    at (LEAST_PLACES at least): 0 (nothing) to 1. form: in which the images were compared.
    """

    points_0: Points
    points_1: Points
    expected_1: Points
    similarity: NDArray[np.float64]
    homography: NDArray[np.float64]
    support: float
    form: str
    look: Look


def guided_matches(
    pixels_0: NDArray,
    pixels_1: NDArray,
    first: NDArray,
    forms: tuple[str, ...] = FORMS,
    look: Look = NOISY,
    near: bool = False,
) -> Guided | None:
    """Points of two images (H, W) that a first transform (3, 3), points of image_0 → image_1, leads to.

    `near`: the first transform is good to about a pixel. None where no form finds enough that agrees.
    """
    warped, shown = warped_onto(pixels_0.shape, pixels_1, first), shown_by(pixels_0.shape, pixels_1.shape, first)
    best = None
    for form in forms:
        form_0, form_1 = form_of(pixels_0, form, look.sigma), form_of(warped, form, look.sigma, other=True)
        found = _in_form(form_0, form_1, shown, look, near)
        if found is not None and (best is None or found[-1] > best[0][-1]):
            best = found, form
    if best is None:
        return None
    (points_0, points_1, expected, similarity, homography, support), form = best
    back, expected = (moved(p, first) for p in (points_1, expected))
    height, width = pixels_1.shape
    inside = ((back > -0.5) & (back < np.array((width, height)) - 0.5)).all(1)
    return Guided(
        points_0[inside], back[inside], expected[inside], similarity[inside], first @ homography, support, form, look
    )


def moved(points: Points, matrix: NDArray) -> Points:
    """Points (M, 2) moved by a matrix (3, 3)."""
    moved = points @ matrix[:, :2].T + matrix[:, 2]
    return moved[:, :2] / moved[:, 2:]


def _in_form(form_0, form_1, shown, look: Look, near: bool):
    """points_0, points_1, where they were expected, similarity, homography and support; None without enough points."""
    if near:
        homography = np.eye(3)
    else:
        homography = _first_homography(form_0, form_1, shown, look)
        if homography is None:
            return None
    kept, guess = None, homography
    for _ in range(ROUNDS):
        grid = _grid(shown, homography)
        expected = moved(grid, homography)
        found = follow(form_0, form_1, grid, expected, look.side)
        good = (found.loop < LOOP) & (found.similarity > look.similarity)
        good &= np.linalg.norm(found.points_1 - expected, axis=1) < REACH
        if good.sum() < LEAST_POINTS:
            return None
        points_0, points_1 = grid[good], found.points_1[good]
        better = homography_of(points_0, points_1)
        if better is None:
            return None
        homography = better
        error = np.linalg.norm(moved(points_0, homography) - points_1, axis=1)
        support = float(found.similarity[good][error < AGREES].sum() / max(len(grid), LEAST_PLACES))
        kept = points_0, points_1, moved(points_0, guess), found.similarity[good], homography, support
    return kept


def _first_homography(form_0, form_1, shown, look: Look) -> NDArray | None:
    """A similarity from a wide look around a coarse grid."""
    grid = _grid(shown, np.eye(3), step=12)
    if len(grid) < LEAST_POINTS:
        return None
    found = follow(form_0, form_1, grid, grid, 31, halvings=2)
    good = (found.loop < 1.5 * LOOP) & (found.similarity > look.similarity)
    good &= np.linalg.norm(found.points_1 - grid, axis=1) < FIRST_REACH
    if good.sum() < LEAST_POINTS // 2:
        return None
    cv2.setRNGSeed(0)
    similarity, agreeing = cv2.estimateAffinePartial2D(
        grid[good], found.points_1[good], method=cv2.RANSAC, ransacReprojThreshold=3.0, maxIters=5000
    )
    enough = max(LEAST_POINTS // 2, FIRST_SHARE * len(grid))
    if similarity is None or agreeing.sum() < enough or not 0.5 < np.linalg.det(similarity[:, :2]) < 2:
        return None
    return np.vstack((similarity, (0, 0, 1)))


def homography_of(points_0: Points, points_1: Points, threshold: float = 2.0) -> NDArray | None:
    """Homography (3, 3) by OpenCV's MAGSAC, or None; also where fewer than four points are given."""
    if len(points_0) < 4:
        return None
    cv2.setRNGSeed(0)
    found, _ = cv2.findHomography(points_0, points_1, cv2.USAC_MAGSAC, threshold, maxIters=10_000, confidence=0.999)
    return found


def _grid(shown: NDArray, homography: NDArray, step: int = 8) -> Points:
    """Points of image_0 whose place is shown by both images: every `step` pixels, at most MOST_POINTS or so."""
    height, width = shown.shape
    step = max(step, math.ceil(math.sqrt(shown.sum() / MOST_POINTS)))
    y, x = np.mgrid[step // 2 : height - 2 : step, step // 2 : width - 2 : step]
    grid = np.stack((x, y), -1).reshape(-1, 2).astype(np.float64)
    there = moved(grid, homography)
    inside = ((there > MARGIN) & (there < np.array([width, height]) - 1 - MARGIN)).all(1)
    grid, there = grid[inside], np.round(there[inside]).astype(int)
    return grid[shown[there[:, 1], there[:, 0]]]


def warped_onto(shape: tuple[int, int], pixels_1: NDArray, first: NDArray) -> NDArray:
    """Image_1 in the frame of image_0, of this shape; `first` (3, 3) takes points of image_0 to image_1.

    By Lanczos: OpenCV's cubic kernel (a = −0.75) does not keep straight slopes straight, and displaces what lies a
    quarter of a pixel beside the grid by 0.05 pixels (tests/test_alignment.py).
    """
    shrink = math.sqrt(abs(np.linalg.det(first[:2, :2])))
    warped = cv2.warpPerspective(
        antialiased(pixels_1, shrink), first, shape[::-1], flags=cv2.INTER_LANCZOS4 | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT, borderValue=float(pixels_1.mean()),
    )  # fmt: skip
    return np.clip(warped, 0, 1)


def shown_by(shape: tuple[int, int], shape_1: tuple[int, int], first: NDArray) -> NDArray[np.bool_]:
    """Where (H, W) image_1, of shape_1, shows what image_0, of this shape, does; MARGIN pixels of its rim left out."""
    whole = np.zeros(shape_1, np.uint8)
    margin = int(MARGIN)
    whole[margin:-margin, margin:-margin] = 1
    return cv2.warpPerspective(whole, first, shape[::-1], flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP) > 0


def antialiased(pixels: NDArray, shrink: float) -> NDArray:
    """Pixels blurred for being sampled every `shrink` pixels; untouched where nothing shrinks."""
    if shrink <= 1.05:
        return pixels
    return cv2.GaussianBlur(pixels, (0, 0), 0.5 * math.sqrt(shrink**2 - 1), borderType=cv2.BORDER_REFLECT_101)
