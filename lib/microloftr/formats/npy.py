"""NumPy's .npy: one array (H, W), (H, W, 3) or (H, W, 4) of numbers; no pickled objects, no pixel size."""

from math import prod
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from microloftr.errors import ImageError
from microloftr.pixels import Decoded, check_size, choose_channel, choose_page


def decode(path: Path, channel: int | None, page: int | None, projection: str | None) -> Decoded:
    """The array as an image. Raises ImageError for other shapes, types, and sizes beyond file or limit."""
    with open(path, "rb") as file:
        version = npy.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise ImageError(f"its version of the NPY format, {version[0]}.{version[1]}, is not one for numbers")
        header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, kind = header(file)
        start = file.tell()
    if kind.kind not in "biuf" or not (len(shape) == 2 or (len(shape) == 3 and shape[2] in (3, 4))):
        raise ImageError(
            f"its array of shape {shape} and type {kind} is no image; "
            "it must be numbers of shape (height, width) or (height, width, 3)"
        )
    check_size(shape[1], shape[0], kind.itemsize * prod(shape[2:]))
    if start + prod(shape) * kind.itemsize > path.stat().st_size:
        raise ImageError("it is cut off: pixel data are missing at its end")

    def read(_: int) -> Decoded:
        pixels = np.fromfile(path, kind, prod(shape), offset=start).reshape(shape, order="F" if fortran else "C")
        return Decoded(choose_channel(pixels[:, :, :3] if pixels.ndim == 3 else pixels, channel))

    return choose_page(read, 1, page, projection)
