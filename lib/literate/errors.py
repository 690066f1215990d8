"""Exceptions of the machinery; like all of ours, each message is one sentence that says what would be right."""

from microloftr.errors import MicroLoFTRError


class LiterateError(MicroLoFTRError):
    """A notebook, note or number is not as it should be; commands print it as one line and exit with status 2."""


class NotebookFailed(LiterateError):
    """A notebook stopped in one of its cells.

    `status` is the exit status for the command line: 2 when the cell refused bad input with a sentence of its own,
    1 when it stopped for any other reason.
    """

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status
