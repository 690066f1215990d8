"""The baseline that looks at nothing: trained weights, shown black images."""

import numpy as np

from microloftr.evaluation.identity import resize_of, weights_sha256
from microloftr.evaluation.matchers import get_matcher, matcher_key


def test_black_images_are_matched_by_position_alone():
    generator = np.random.default_rng(0)
    blind, sighted = get_matcher("one_conv-zeros"), get_matcher("one_conv")
    first, second = (generator.random((2, 96, 128), dtype=np.float32) for _ in range(2))
    one, two = blind.match(*first), blind.match(*second)
    for name in ("points_0", "points_1", "confidence"):
        assert np.array_equal(getattr(one, name), getattr(two, name))
        assert np.isfinite(getattr(one, name)).all()
    assert one.size_0 == (128, 96)
    assert not np.array_equal(sighted.match(*first).points_1, sighted.match(*second).points_1)
    assert weights_sha256(blind) == weights_sha256(sighted) and resize_of(blind) == resize_of(sighted)
    assert matcher_key("micro-zeros") == "micro_zeros"


def test_micro_stays_silent_or_unsure_on_black():
    matches = get_matcher("micro-zeros").match(np.ones((96, 128), np.float32), np.zeros((96, 128), np.float32))
    assert np.isfinite(matches.confidence).all() and (matches.confidence < 0.9).all()
