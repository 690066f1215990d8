"""Proposals: which first transform is taken, and when a vote stands out."""

import numpy as np
import pytest

from microloftr import proposals
from microloftr.errors import ParameterError
from microloftr.guided import SHARP, Guided
from microloftr.options import MatcherOptions, options_from
from microloftr.search import Hypothesis

BLANK = np.zeros((320, 320), np.float32)


def hypothesis(turns: int, agreeing: int) -> Hypothesis:
    return Hypothesis(np.diag([1.0, 1.0, 1.0 + turns]), turns, agreeing)


def guided(support: float, matrix: np.ndarray) -> Guided:
    none = np.zeros((0, 2))
    return Guided(none, none, none, np.zeros(0), matrix, support, "grey", SHARP)


@pytest.fixture
def search(monkeypatch):
    """A search whose votes and supports by turn are given; returns what it takes and the turns tried closely."""

    def run(votes: dict[int, int], supports: dict[int, float]):
        tried = []

        def close(_0, _1, first, *_, look, **__):
            turn = int(first[2, 2]) - 1
            tried.append(turn)
            return guided(supports[turn], first) if turn in supports else None

        def sharp_or_close(pixels_0, pixels_1, first, forms=(), look=SHARP, **named):
            return None if look == SHARP else close(pixels_0, pixels_1, first, look=look)

        monkeypatch.setattr(proposals, "guided_matches", sharp_or_close)
        monkeypatch.setattr(proposals, "hypotheses", lambda *_: [hypothesis(turn, votes[turn]) for turn in votes])
        return proposals.proposed(BLANK, BLANK, MatcherOptions(), lambda a, b: None), tried

    return run


def test_a_vote_that_stands_out_needs_less_support(search):
    found, tried = search({0: 90, 1: 20, 2: 15, 3: 9}, {0: 0.03})
    assert found.guided.support == 0.03 and set(tried) == {0}
    found, _ = search({0: 40, 1: 20, 2: 15, 3: 9}, {0: 0.03})
    assert found.guided is None and found.most is not None and not found.clear


def test_without_any_support_a_clear_vote_is_told(search):
    found, _ = search({2: 90, 1: 20}, {2: 0.01})
    assert found.guided is None and found.clear and found.most[2, 2] == 3


def test_few_votes_are_never_clear(search):
    found, _ = search({0: proposals.SURE - 1}, {0: 0.03})
    assert found.guided is None and not found.clear


def test_among_votes_alike_the_best_supported_is_taken(search):
    found, tried = search({0: 40, 1: 38, 2: 36, 3: 9}, {0: 0.07, 1: 0.15, 2: 0.1})
    assert found.guided.support == 0.15 and 1 in tried


def test_nothing_voted_for_is_nothing_proposed(search):
    found, _ = search({}, {})
    assert found.guided is None and found.most is None


def test_options_are_checked():
    assert options_from({"direct": False}).direct is False
    with pytest.raises(ParameterError, match="at least 64"):
        options_from({"direct_side": 8})
    with pytest.raises(ParameterError, match="no option 'direkt'"):
        options_from({"direkt": False})


@pytest.fixture
def looked_at(monkeypatch):
    """The magnifications that are looked for with a known one, where the one given is right and no other."""

    def run(right: float | None, known: float | None = None, large_1=BLANK) -> list[float]:
        seen = []

        def votes(_0, _1, side, points, turns, magnified):
            seen.append(magnified)
            return [hypothesis(0, 40)] if magnified == right else []

        monkeypatch.setattr(proposals, "hypotheses", votes)
        monkeypatch.setattr(proposals, "guided_matches", lambda *_, **__: guided(0.5, np.eye(3)))
        proposals.proposed(BLANK, large_1, MatcherOptions(), lambda a, b: None, known)
        return list(dict.fromkeys(seen))

    return run


def test_other_magnifications_are_looked_for_only_where_nothing_is_found(looked_at):
    assert looked_at(1.0) == [1.0]
    assert looked_at(2.0) == [1.0, 2.0]
    assert looked_at(0.5) == looked_at(None) == [1.0, 2.0, 0.5]


def test_a_known_magnification_is_looked_for_first_and_a_wrong_one_is_no_end(looked_at):
    assert looked_at(2.0, known=2.0) == [2.0]
    assert looked_at(3.0, known=3.0) == [3.0]
    assert looked_at(1.0, known=2.1) == [2.1, 1.0]
    assert looked_at(1.0, known=1.1) == [1.0]
    assert looked_at(None, known=50.0) == [proposals.MOST_MAGNIFIED, 1.0, 2.0, 0.5]


def test_images_of_unequal_size_may_have_pixels_of_equal_size(looked_at):
    assert looked_at(None, large_1=BLANK[:100, :100]) == [1.0, 3.2, 2.0, 0.5]
    assert looked_at(None, large_1=BLANK[:300, :300]) == [1.0, 2.0, 0.5]
