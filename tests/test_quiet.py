"""Other libraries are silent while they work for us, and only then and there."""

import logging
import threading
import warnings

import pytest

from microloftr.quiet import muted, unwarned


def test_a_logger_is_muted_here_and_now_only(caplog):
    logger = logging.getLogger("somebody.else")
    with caplog.at_level(logging.DEBUG):
        with muted("somebody.else"):
            logger.warning("unheard")
            other = threading.Thread(target=logger.warning, args=("heard from another thread",))
            other.start()
            other.join()
            with muted("somebody.else"):
                pass
            logger.warning("unheard still")
        logger.warning("heard again")
    assert caplog.messages == ["heard from another thread", "heard again"]
    with pytest.raises(KeyError), muted("somebody.else"):
        raise KeyError
    logger.warning("heard after an error")
    assert caplog.messages[-1] == "heard after an error" and len(logger.filters) == 1


def test_warnings_are_ignored_inside_and_as_before_outside():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with unwarned(), unwarned():
            warnings.warn("unheard", stacklevel=1)
        with pytest.raises(UserWarning, match="heard"):
            warnings.warn("heard", stacklevel=1)
