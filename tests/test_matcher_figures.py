"""The Matcher at work: the supported proposal is the framed one, and a pair without any says so."""

import cv2
import numpy as np
import pytest

from microloftr.search import unturn
from microloftr.views.matcher_figures import draw_work, worked

SIZE = 160


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    noise = np.random.default_rng(0).normal(size=(SIZE, SIZE)).astype(np.float32)
    soft = cv2.GaussianBlur(noise, (0, 0), 2.5)
    return (soft - soft.min()) / np.ptp(soft)


def votes_for(image: np.ndarray):
    """Points of two thumbnails: the same places where image_1 shows what image_0 does, a wrong shift elsewhere."""
    y, x = np.mgrid[20:140:10, 20:140:10]
    grid = np.stack((x, y), -1).reshape(-1, 2).astype(float)

    def points_of(thumb_0, thumb_1):
        same = np.abs(thumb_0 - thumb_1).mean() < 0.01
        return (grid, grid) if same else (grid[::3].copy(), grid[::3] + (9.0, 4.0))

    return points_of


def test_the_best_supported_turn_is_framed(image):
    turned = np.ascontiguousarray(np.rot90(image, 2))
    work = worked("half a turn", image, turned, votes_for(image), (160, 320))
    assert work.side == 160 and len(work.tried) == 4
    assert work.best.proposal.turns == 2 and work.best.support > 0.5
    assert np.allclose(work.best.guided.homography, unturn(2, image.shape), atol=0.02)
    figure = draw_work([work])
    titles = [axis.get_title() for axis in figure.axes]
    assert any(title.startswith("180°") and "144 votes" in title for title in titles)
    framed = [axis.get_title() for axis in figure.axes if axis.patches]
    assert len(framed) == 1 and framed[0].startswith("180°")


def test_a_pair_without_support_says_so(image):
    other = cv2.GaussianBlur(np.random.default_rng(1).random((SIZE, SIZE)).astype(np.float32), (0, 0), 2.5)
    work = worked("unrelated", image, other, votes_for(image), (160,))
    assert work.best is None
    assert "nothing is supported" in [axis.get_title() for axis in draw_work([work]).axes]
