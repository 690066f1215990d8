"""`python -m literate COMMAND …`: one table of commands; each module's `main(argv)` returns an exit status."""

import difflib
import os
import signal
import sys
from importlib import import_module

from microloftr.errors import MicroLoFTRError

COMMANDS = {
    "match": ("literate.match", "match two images by notebook 00 [IMAGE_0 IMAGE_1 …]"),
    "build": ("literate.build", "build the notebooks from their scripts and run them [NAME …]"),
    "run": ("literate.run", "run a notebook with parameters NAME [-p KEY=VALUE …]"),
    "check": ("literate.check", "are the notebooks built, in order and small? [NAME …] [--run]"),
    "numbers": ("literate.numbers", "fill the numbers of README and vault in from results/ [--check]"),
    "vault": ("literate.vault", "fill the vault's numbers in, then check its names and links [--check]"),
}


def main(argv: list[str] | None = None) -> int:
    """Run one command. Status 0: done; 1: a notebook stopped; 2: the user can mend it (one line); 130: interrupted."""
    try:
        status = _run(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()
        return status
    except MicroLoFTRError as error:
        return _complain(str(error), getattr(error, "status", 2))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader (`| head`) has gone: the interpreter's own flush must not complain either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:  # a folder without permission, a full disk
        return _complain(f"Cannot use {error.filename or 'a file'}: {(error.strerror or str(error)).lower()}.", 2)


def usage() -> str:
    """The list of commands, one line each."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {text}" for name, (_, text) in COMMANDS.items()]
    return "\n".join(["usage: python -m literate COMMAND …, where COMMAND is one of", *lines])


def _run(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    name, *rest = argv
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"choose from: {', '.join(COMMANDS)}."
        return _complain(f"There is no command '{name}': {hint}", 2)
    return import_module(COMMANDS[name][0]).main(rest)


def _complain(text: str, status: int) -> int:
    print(f"error: {' '.join(text.split())}", file=sys.stderr)
    return status


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as after Ctrl-C, nothing stays half-written
    sys.exit(main())
