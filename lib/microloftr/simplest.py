"""The simplest transform that the pixels do not speak against, and what micrographs do in general.

A homography has eight numbers, and where little is shared some of them are hardly held. Two micrographs of a specimen
are related by a similarity and a little more (another stage, a deformed section); tiles of one scan by a shift alone.
Both are told as priors, and Bayes decides between them (MacKay, Neural Computation 1992): numbers that add nothing
beyond what noise would add are left at 0.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Beyond a shift: log of the scale, turn (radians), two shears, two perspectives (change of scale from the middle of
# image_0 to its edge). Spreads of what is usual; scale and turn are as free as they need be.
USUAL = (0.2, 1.0, 0.0115, 0.0115, 0.0087, 0.0087)
FAMILIES = {  # which of them are 0 in simpler families, the next simpler one last
    "similarity": (2, 3, 4, 5),
    "rigid": (0, 2, 3, 4, 5),
    "translation": (0, 1, 2, 3, 4, 5),
}
SURE = 2.0  # nats of evidence that a simpler family needs
FIXED = 1e-5  # spread of what is held at 0
SMALL = 1e-6  # of a step, for slopes


@dataclass(frozen=True, eq=False)
class Frames:
    """Where homographies live that are stepped: `view` (3, 3) takes pixels of the image stepped in to coordinates
    around its middle; to_0, to_1 (3, 3) take pixels as read to pixels of the views; `whole` as `view`, as read."""

    view: NDArray
    to_0: NDArray
    to_1: NDArray
    whole: NDArray


def stepped(homography: NDArray, step: NDArray, view: NDArray) -> NDArray:
    """The homography (3, 3) after a step (8,): two shifts, scale, turn, two shears, two perspectives."""
    x, y, scale, turn, shear_x, shear_y, lean_x, lean_y = step
    change = np.array([[scale + shear_x, shear_y - turn, x], [turn + shear_y, scale - shear_x, y], [lean_x, lean_y, 0]])
    result = homography @ np.linalg.inv(view) @ (np.eye(3) + change) @ view
    return result / result[2, 2]


def beyond_shift(homography: NDArray, frames: Frames) -> NDArray:
    """What a homography (of the views) does beyond a shift (6,), told in pixels as read: see USUAL."""
    centred = np.linalg.inv(frames.to_1) @ homography @ frames.to_0 @ np.linalg.inv(frames.whole)
    centred = centred / centred[2, 2]
    perspective = centred[2, :2]
    linear = (centred[:2, :2] - np.outer(centred[:2, 2], perspective)) * frames.whole[0, 0]
    angle = math.atan2(linear[1, 0] - linear[0, 1], linear[0, 0] + linear[1, 1])
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    scale = math.sqrt(abs(np.linalg.det(linear)))
    left = turn.T @ linear / max(scale, 1e-9)
    shears = (left[0, 0] - left[1, 1]) / 2, (left[0, 1] + left[1, 0]) / 2
    return np.array([math.log(max(scale, 1e-9)), angle, *shears, *perspective])


def slopes(homography: NDArray, frames: Frames) -> NDArray:
    """Change (6, 8) of `beyond_shift` with a step."""
    here = beyond_shift(homography, frames)
    steps = SMALL * np.eye(8)
    there = [beyond_shift(stepped(homography, step, frames.view), frames) for step in steps]
    return (np.stack(there, 1) - here[:, None]) / SMALL


def usual(homography: NDArray, frames: Frames, family: str | None = None) -> tuple[NDArray, NDArray]:
    """What is known before: normal matrix (8, 8) and right-hand side (8,). family: one of FAMILIES, which is held."""
    spread = np.array((np.inf, np.inf, *USUAL[2:]))
    if family:
        spread[list(FAMILIES[family])] = FIXED
    slope, trust = slopes(homography, frames), 1 / spread**2
    weighted = slope.T * trust
    return weighted @ slope, -weighted @ beyond_shift(homography, frames)


def simplest(homography: NDArray, normal: NDArray, frames: Frames) -> str | None:
    """The simplest family that is likelier than all that is less simple; None for the homography as it is.

    homography: the likeliest one with `usual`; normal (8, 8): what the images alone know of a step from there.
    """
    slope = slopes(homography, frames)
    covariance = slope @ np.linalg.pinv(normal, rcond=1e-12) @ slope.T
    found, chosen = beyond_shift(homography, frames), None
    for family, zero in FAMILIES.items():
        part = np.ix_(zero, zero)
        noise, wide = covariance[part], np.diag(np.square(USUAL))[part]
        measured = (wide + noise) @ np.linalg.solve(wide, found[list(zero)])  # before the prior drew it to 0
        if _log_density(measured, noise) - _log_density(measured, wide + noise) < SURE:
            break
        chosen = family
    return chosen


def _log_density(values: NDArray, covariance: NDArray) -> float:
    """Of a normal distribution around 0, without its constant."""
    sign, log_volume = np.linalg.slogdet(covariance)
    if sign <= 0:
        return -math.inf
    return float(-0.5 * (values @ np.linalg.solve(covariance, values)) - 0.5 * log_volume)
