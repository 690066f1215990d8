"""Keep other people's libraries silent while they decode for us, and only then."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import RLock

_muted: ContextVar[bool] = ContextVar("muted", default=False)
_LOCK = RLock()  # warning filters belong to the whole process


class _Silence(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return not _muted.get()


_SILENCE = _Silence()


@contextmanager
def muted(logger: str) -> Iterator[None]:
    """Drop what the logger of this name would say from here, in this thread or task alone."""
    logging.getLogger(logger).addFilter(_SILENCE)  # a filter is added once only
    token = _muted.set(True)
    try:
        yield
    finally:
        _muted.reset(token)


@contextmanager
def unwarned() -> Iterator[None]:
    """Ignore Python's warnings; one thread at a time."""
    with _LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
