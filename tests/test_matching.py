"""Matcher: frames of turned, shrunk and warped images, empty results, and names."""

import cv2
import numpy as np
import pytest
import torch

from microloftr import matching, proposals
from microloftr.errors import ParameterError, WeightsError
from microloftr.guided import SHARP, Guided, moved
from microloftr.matches import Matches
from microloftr.matching import Matcher, MatcherOptions
from microloftr.model.presets import PRESETS
from microloftr.model.trace import MatchedPoints
from microloftr.proposals import Proposal
from microloftr.search import View, agreed, frame, hypotheses, shrunk, unshrunk, unturn


def blobs(height: int, width: int, count: int = 60, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """An image of Gaussian spots of known centres (count, 2)."""
    rng = np.random.default_rng(seed)
    centres = rng.uniform((8, 8), (width - 8, height - 8), (count, 2))
    y, x = np.mgrid[:height, :width]
    image = sum(np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / 8) for cx, cy in centres)
    return np.clip(image, 0, 1).astype(np.float32), centres


class KnownModel(torch.nn.Module):
    """Stands where the network stands, and finds the spots of image_0 if image_1 is turned less than 45°."""

    def __init__(self, find) -> None:
        super().__init__()
        self.find, self.calls, self.config = find, [], PRESETS["micro"]

    def forward(self, image_0, image_1, threshold, border):
        points_0, points_1 = self.find(image_0[0, 0].numpy(), image_1[0, 0].numpy())
        self.calls.append((tuple(image_0.shape[-2:]), tuple(image_1.shape[-2:]), len(points_0)))
        tensors = [torch.from_numpy(np.asarray(p, dtype=np.float32).reshape(-1, 2)) for p in (points_0, points_1)]
        return MatchedPoints(torch.zeros(len(tensors[0])), *tensors, tensors[1], torch.full((len(tensors[0]),), 0.9))


def peaks(image: np.ndarray) -> np.ndarray:
    """Sub-pixel centres of the spots of an image."""
    from skimage.feature import peak_local_max

    found = peak_local_max(image, min_distance=4, threshold_abs=0.4, exclude_border=6)
    result = []
    for row, column in found:
        patch = image[row - 3 : row + 4, column - 3 : column + 4].astype(float)
        weight = np.clip(patch - patch.min(), 0, None)
        y, x = np.mgrid[-3:4, -3:4]
        result.append((column + (weight * x).sum() / weight.sum(), row + (weight * y).sum() / weight.sum()))
    return np.array(result).reshape(-1, 2)


def near_identity(image_0, image_1):
    """Spots matched by a rough similarity found by brute force over small turns: fails beyond ±45°."""
    points_0, points_1 = peaks(image_0), peaks(image_1)
    best = (np.zeros((0, 2)), np.zeros((0, 2)))
    if len(points_0) < 5 or len(points_1) < 5:
        return best
    for angle in np.deg2rad(np.arange(-42, 43, 3)):
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        turned = points_0 @ turn.T
        shifts = (points_1[:, None] - turned[None]).reshape(-1, 2)
        cells, counts = np.unique(np.round(shifts / 4), axis=0, return_counts=True)
        shift = cells[counts.argmax()] * 4
        distance = np.linalg.norm(points_1[None] - (turned + shift)[:, None], axis=-1)
        nearest, close = distance.argmin(1), distance.min(1) < 5
        if close.sum() > len(best[0]):
            best = (points_0[close], points_1[nearest[close]])
    return best if len(best[0]) >= 0.6 * min(len(points_0), len(points_1)) else (best[0][:0], best[1][:0])


def matcher(find, **options) -> Matcher:
    return Matcher(KnownModel(find), MatcherOptions(**options), "cpu")


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_quarter_turns_are_found_and_points_come_back(turns):
    image, _ = blobs(160, 200)
    turned = np.ascontiguousarray(np.rot90(image, turns))
    found = matcher(near_identity).match(image, turned)
    assert len(found) > 20
    back = np.column_stack((found.points_1, np.ones(len(found)))) @ unturn(turns, image.shape).T
    assert np.median(np.abs(back[:, :2] - found.points_0)) < 0.1


def test_unturn_is_what_rot90_does():
    image = np.arange(20.0).reshape(4, 5)
    for turns in range(4):
        turned = np.rot90(image, turns)
        for y, x in np.ndindex(turned.shape):
            there = unturn(turns, image.shape) @ (x, y, 1)
            assert image[int(there[1]), int(there[0])] == turned[y, x]


def test_large_images_are_shrunk_and_points_keep_the_frame_as_read():
    image, _ = blobs(150, 260, 40)
    large = np.kron(image, np.ones((2, 2), np.float32))  # pixel (x, y) covers 2x … 2x+1: centres at 2x + 0.5
    plain = matcher(near_identity, network_side=260, search=False).match(image, large)
    followed = matcher(near_identity, long_side=260).match(image, large)
    for found in (plain, followed):
        assert len(found) > 20
        assert np.median(np.abs(found.points_1 - (2 * found.points_0 + 0.5))) < 0.1
    pixels, scale = shrunk(large, 130)
    assert max(pixels.shape) == 130
    spot, centre = blobs(150, 260, 1, seed=4)
    small, scale = shrunk(spot, 130)
    y, x = np.mgrid[: small.shape[0], : small.shape[1]]
    seen = np.array([(small * x).sum(), (small * y).sum()]) / small.sum()
    assert np.allclose((frame(scale) @ (*centre[0], 1))[:2], seen, atol=0.05)
    assert np.allclose(unshrunk(seen, scale), centre[0], atol=0.05)


def test_a_sure_hypothesis_ends_the_search_and_an_unsure_one_does_not():
    image, _ = blobs(180, 180)
    sure = matcher(near_identity, quick_side=180)
    sure.match(image, image)
    assert len(sure.model.calls) == 1  # the first turn was right: nothing else is asked
    turned = matcher(near_identity, quick_side=180)
    turned.match(image, np.ascontiguousarray(np.rot90(image, 3)))
    assert [call[2] > 20 for call in turned.model.calls] == [False, True] or turned.model.calls[-1][2] > 20
    assert len(turned.model.calls) <= 4


def test_pixels_decide_between_a_right_and_a_wrong_hypothesis():
    """The network is made to be surer of a wrong place: twice as many matches agree on it as on the right one."""
    image, _ = blobs(200, 200, 90)
    turned = np.ascontiguousarray(np.rot90(image, 2))

    def liar(image_0, image_1):
        right = near_identity(image_0, image_1)
        points = np.repeat(peaks(image_0), 2, axis=0)
        return right if len(right[0]) else (points, points + len(image_1) / 5)

    def errors(found):
        return np.linalg.norm(moved(found.points_0, unturn(2, image.shape)) - found.points_1, axis=1)

    voted = matcher(liar, align=False).match(image, turned)
    decided = matcher(liar).match(image, turned)
    assert len(voted) == 0 or np.median(errors(voted)) > 20
    assert len(decided) > 100 and np.median(errors(decided)) < 0.1 and (decided.confidence > 0.5).all()


def test_where_the_pixels_support_nothing_the_network_is_half_as_sure():
    image, _ = blobs(200, 200, 90)
    other, _ = blobs(200, 200, 90, seed=5)

    def sure(image_0, image_1):
        return peaks(image_0), peaks(image_0) + 3.0

    found = matcher(sure).match(image, other)
    assert len(found) > 20
    assert np.allclose(found.confidence, 0.45)


@pytest.mark.parametrize("clear", [True, False])
def test_a_clear_vote_without_support_is_believed_near_its_place_however_unsure(monkeypatch, clear):
    """Of unsure matches those near the voted place are taken where the vote stands out, and none where it does not."""
    image, _ = blobs(200, 200)
    near, far = np.array([[40.0, 50.0], [90.0, 120.0]]), np.array([[150.0, 60.0]])

    class Unsure(KnownModel):
        def forward(self, image_0, image_1, threshold, border):
            points_1 = np.concatenate((near + 0.6 * matching.ASIDE, far + 1.2 * matching.ASIDE))
            tensors = [torch.from_numpy(p) for p in (np.concatenate((near, far)), points_1)]
            sure = torch.full((3,), 0.04) >= threshold
            return MatchedPoints(torch.zeros(3)[sure], *(t[sure] for t in (*tensors, tensors[1])), 0.04 * sure[sure])

    monkeypatch.setattr(
        matching, "proposed", lambda a, b, *_: Proposal(None, View.of(a, b, 320), np.eye(3), clear=clear)
    )
    found = Matcher(Unsure(None), MatcherOptions(direct=False), "cpu").match(image, image)
    assert len(found) == (2 if clear else 0)
    assert np.allclose(found.points_0, near[: len(found)]) and np.allclose(found.confidence, 0.02)


def test_what_a_vote_made_up_for_is_half_as_sure(monkeypatch):
    """The same points with the same likeness: with less support than unrelated images are kept from, half as sure."""
    image, _ = blobs(200, 200)
    points = np.array([[40.0, 50.0], [90.0, 120.0], [150.0, 60.0]])
    sure = {}
    for support in (proposals.WEAK + 0.01, proposals.SUPPORTED + 0.01):
        guided = Guided(points, points, points, np.ones(3), np.eye(3), support, "grey", SHARP)
        monkeypatch.setattr(
            matching, "proposed", lambda a, b, *_, g=guided: Proposal(g, View.of(a, b, 320), clear=True)
        )
        found = Matcher(KnownModel(None), MatcherOptions(direct=False), "cpu").match(image, image)
        assert len(found) == 3
        sure[support > proposals.SUPPORTED] = found.confidence
    assert np.allclose(sure[False], sure[True] / 2)


def test_a_small_image_in_a_large_one_keeps_its_pixels():
    """Following goes on at full size: what is found on a 320-pixel view alone would be three times as rough."""
    image, _ = blobs(480, 640, 500)
    there = np.array([[0.98, -0.05, 20.0], [0.04, 0.99, -9.0]])
    other = cv2.warpAffine(image, there, (640, 480), flags=cv2.INTER_LANCZOS4)
    full, view = (matcher(near_identity, long_side=side, direct=False).match(image, other) for side in (1600, 320))
    full_error, view_error = (
        np.median(np.linalg.norm(m.points_1 - m.points_0 @ there[:, :2].T - there[:, 2], axis=1)) for m in (full, view)
    )
    assert full_error < 0.05 and full_error < 0.6 * view_error


def test_votes_need_eight_that_agree_and_a_possible_scale():
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 300, (60, 2))
    matrix, count = agreed(points, points * 1.2 + [5, -3])
    assert count == 60 and np.allclose(matrix, [[1.2, 0, 5], [0, 1.2, -3], [0, 0, 1]], atol=1e-6)
    assert agreed(points[:7], points[:7])[0] is None
    assert agreed(points, points * 6)[0] is None
    assert agreed(points, rng.uniform(0, 300, (60, 2)))[1] < 20


def test_hypotheses_are_made_one_by_one_in_pixels_of_the_images():
    image, _ = blobs(240, 320)
    asked = []

    def points_of(thumb_0, thumb_1):
        asked.append(thumb_1.shape)
        return near_identity(thumb_0, thumb_1)

    made = hypotheses(image, image, 240, points_of)
    first = next(made)
    assert asked == [(180, 240)]
    assert first.turns == 0 and first.agreeing > 20
    assert np.abs(first.matrix - np.eye(3)).max() < 1.0
    list(made)
    assert sorted(asked) == [(180, 240)] * 2 + [(240, 180)] * 2


@pytest.mark.parametrize("other", [np.zeros((90, 120), np.float32), np.full((64, 64), 0.7, np.float32)])
def test_blank_images_give_no_matches_and_no_transform(other):
    image, _ = blobs(120, 120)
    found = matcher(near_identity).match(image, other)
    assert isinstance(found, Matches)
    assert len(found) == 0
    assert found.points_0.shape == (0, 2)
    assert found.estimate() is None
    random = Matcher.from_pretrained("random:micro", threshold=0.9).match(image, other)
    assert len(random) == 0


def test_names_and_options():
    assert Matcher.from_pretrained("random:one_conv", threshold=0.3).options.threshold == 0.3
    with pytest.raises(ParameterError, match="no option 'treshold'"):
        Matcher.from_pretrained("random:micro", treshold=0.3)
    with pytest.raises(ParameterError, match="device is 'cudda'"):
        Matcher.from_pretrained("random:micro", device="cudda")
    with pytest.raises(ParameterError, match=r"threshold is 1\.5"):
        Matcher.from_pretrained("random:micro", threshold=1.5)
    with pytest.raises(WeightsError, match="no weights named 'mikro'"):
        Matcher.from_pretrained("mikro")
    with pytest.raises(WeightsError, match=r"no matcher 'nowhere.Such'"):
        Matcher.from_pretrained("nowhere.Such")
    with pytest.raises(WeightsError, match="makes no matcher"):
        Matcher.from_pretrained("collections.OrderedDict")
    assert isinstance(Matcher.from_pretrained("test_matching.Own"), Own)


class Own:
    """A matcher from outside the package."""

    def match(self, image_0, image_1) -> Matches:
        none = np.zeros((0, 2))
        return Matches(none, none, np.zeros(0), (1, 1), (1, 1))
