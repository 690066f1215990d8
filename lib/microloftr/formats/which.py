"""Microscope makers' own formats and NumPy's: which decoder the first bytes of a file call for."""

from collections.abc import Callable
from importlib import import_module
from types import ModuleType

from microloftr.errors import ImageError
from microloftr.pixels import Decoded

START = 16  # so many bytes tell the formats apart
_MAGIC = {
    b"\x93NUMPY": "npy",
    b"ZISRAWFILE": "zeiss",
    b"\xda\xce\xbe\x0a": "nikon",
    b"II\x97\x01": "tia",
    b"\0\0\0\x03": "gatan",
    b"\0\0\0\x04": "gatan",
}


def find_decoder(start: bytes) -> Callable[..., Decoded] | None:
    """decode(path, channel, page, projection) for a file that begins with these bytes, or None for all other files."""
    for magic, module in _MAGIC.items():
        if start.startswith(magic):
            return import_module(f"microloftr.formats.{module}").decode
    return None


def optional_package(name: str, kind: str) -> ModuleType:
    """A reader from the extra `formats`. Raises ImageError that names it where it is not installed."""
    try:
        return import_module(name)
    except ImportError:
        raise ImageError(
            f"it is a {kind} file, which needs the package {name}; install it by itself or with the extra [formats]"
        ) from None
