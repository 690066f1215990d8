"""Points followed from one image to another that already lies nearly on it, to a fraction of a pixel.

Around every point, a patch of image_1 is shifted until it agrees best with the patch of image_0 (Lucas and Kanade 1981,
OpenCV's pyramidal form); then the same way back. Nothing is learned here, and nothing is found that was not nearly
right: a point counts where the way there and back closes and the patches correlate.

What differs between two acquisitions is taken out first: both images are compared in a form with mean 0 and spread 1
around every pixel, as grey values, inverted, as edges, or as distance from the local mean.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]

RADIUS = 8  # of the patch that is compared, pixels
FLAT = 0.01  # spread of grey values below which a neighbourhood counts as flat
GREY_PER_SPREAD = 40  # levels of 8 bit for one spread: ±3.2 of them fit
STEPS = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 30, 0.001)
ROWS = 32_000  # OpenCV's limit on the height of an image that is looked up
FORMS = ("grey", "inverted", "edges", "unsigned")


@dataclass(frozen=True)
class Followed:
    """M points after following: points_1 (M, 2); similarity (M,) of both patches, −1 … 1; loop (M,) in pixels, how far
    from its start a point ends that goes there and back."""

    points_1: Points
    similarity: NDArray[np.float64]
    loop: NDArray[np.float64]


def form_of(pixels: NDArray, form: str, sigma: float = 0.0, other: bool = False) -> NDArray[np.uint8]:
    """Pixels (H, W) in 0..1 as the form in which two images are compared, blurred by `sigma` first.

    `other`: this is image_1, the one that "inverted" inverts.
    """
    smooth = cv2.GaussianBlur(pixels, (0, 0), sigma) if sigma else pixels
    if form == "edges":
        smooth = cv2.GaussianBlur(pixels, (0, 0), max(sigma, 0.7))
        smooth = np.hypot(cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1))
        flat = _flattened(smooth, 8.0)
    else:
        flat = _flattened(smooth, 6.0)
        if form == "unsigned":
            flat = _flattened(np.abs(flat), 6.0)
    if form == "inverted" and other:
        flat = -flat
    return np.clip(flat * GREY_PER_SPREAD + 128, 0, 255).astype(np.uint8)


def follow(
    form_0: NDArray[np.uint8],
    form_1: NDArray[np.uint8],
    points_0: Points,
    points_1: Points,
    side: int = 21,
    halvings: int = 0,
) -> Followed:
    """Follow points_0 (M, 2) from where they are expected, points_1 (M, 2), in windows of `side` pixels.

    `halvings` of the images first make the reach larger: about 4 pixels at none, 20 at two.
    """
    if not len(points_0):
        return Followed(np.zeros((0, 2)), np.zeros(0), np.zeros(0))
    options = {
        "winSize": (side, side),
        "maxLevel": halvings,
        "flags": cv2.OPTFLOW_USE_INITIAL_FLOW,
        "criteria": STEPS,
        "minEigThreshold": 1e-4,
    }
    start = points_0.astype(np.float32).reshape(-1, 1, 2)
    there, found, _ = cv2.calcOpticalFlowPyrLK(
        form_0, form_1, start, points_1.astype(np.float32).reshape(-1, 1, 2), **options
    )
    back, returned, _ = cv2.calcOpticalFlowPyrLK(form_1, form_0, there, start.copy(), **options)
    lost = (found[:, 0] == 0) | (returned[:, 0] == 0)
    loop = np.where(lost, np.inf, np.linalg.norm(back[:, 0] - start[:, 0], axis=1))
    followed = np.where(lost[:, None], points_1, there[:, 0]).astype(np.float64)
    similarity = np.full(len(followed), -1.0)
    kept = np.flatnonzero(~lost)
    similarity[kept] = similarity_at(form_0, form_1, points_0[kept], followed[kept])
    return Followed(followed, similarity, loop.astype(np.float64))


def similarity_at(form_0: NDArray, form_1: NDArray, points_0: Points, points_1: Points) -> NDArray[np.float64]:
    """Correlation (M,), −1 … 1, of the patches around points (M, 2) of both images, weighted towards their centres."""
    offset = np.mgrid[-RADIUS : RADIUS + 1, -RADIUS : RADIUS + 1][::-1].reshape(2, -1).astype(np.float32)
    weight = np.exp(-0.5 * (offset**2).sum(0) / (RADIUS / 1.5) ** 2)
    weight /= weight.sum()
    patches = []
    for form, points in ((form_0, points_0), (form_1, points_1)):
        seen = _looked_up(form.astype(np.float32), points.astype(np.float32), offset)
        seen = seen - (seen @ weight)[:, None]
        patches.append(seen / np.sqrt((seen**2) @ weight + 1.0)[:, None])
    return ((patches[0] * patches[1]) @ weight).astype(np.float64)


def _looked_up(image: NDArray, points: NDArray, offset: NDArray) -> NDArray:
    x, y = (points[:, k : k + 1] + offset[k] for k in range(2))
    parts = [
        cv2.remap(image, x[k : k + ROWS], y[k : k + ROWS], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        for k in range(0, len(points), ROWS)
    ]
    return np.concatenate(parts) if parts else np.zeros((0, offset.shape[1]), np.float32)


def _flattened(image: NDArray, sigma: float) -> NDArray:
    """Mean 0 and spread 1 within a Gaussian of `sigma` pixels around every pixel; flat places stay near 0."""
    image = image.astype(np.float32)
    centred = image - cv2.GaussianBlur(image, (0, 0), sigma)
    return centred / (np.sqrt(cv2.GaussianBlur(centred**2, (0, 0), sigma)) + FLAT)
