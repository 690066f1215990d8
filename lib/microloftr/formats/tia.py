"""FEI/Thermo TIA series (.ser): images of an electron microscope, one element each.

After the format's description by C. Boothroyd and FEI ("TIA Series Data File"): a header, an array of offsets, and at
each offset two calibrations, the type, width and height, then the values row by row from the bottom of the picture.
The calibration has no unit there (the .emi file beside it has), so the pixel size is left open.
"""

import struct
from pathlib import Path

import numpy as np

from microloftr.errors import ImageError
from microloftr.pixels import Decoded, check_size, choose_channel, choose_page

_TYPES = {1: "<u1", 2: "<u2", 3: "<u4", 4: "<i1", 5: "<i2", 6: "<i4", 7: "<f4", 8: "<f8", 9: "<c8", 10: "<c16"}
_IMAGES = 0x4122  # elements of two dimensions; spectra are 0x4120
_ELEMENT = struct.Struct("<ddiddihii")


def decode(path: Path, channel: int | None, page: int | None, projection: str | None) -> Decoded:
    """One element as a plane, or the projection of all. Raises ImageError for spectra and damage."""
    with open(path, "rb") as file:
        _, _, version, kind, _, _, count = struct.unpack("<hhhiiii", _take(file, 22))
        if kind != _IMAGES:
            raise ImageError("it holds spectra, no images")
        place = "<q" if version >= 0x220 else "<i"
        size = struct.calcsize(place)
        (offsets,) = struct.unpack(place, _take(file, size))

        def read(number: int) -> Decoded:
            file.seek(max(offsets, 0) + number * size)
            (offset,) = struct.unpack(place, _take(file, size))
            file.seek(max(offset, 0))
            *_, number_type, width, height = _ELEMENT.unpack(_take(file, _ELEMENT.size))
            if number_type not in _TYPES:
                raise ImageError(f"its values are of the unknown type {number_type}")
            dtype = np.dtype(_TYPES[number_type])
            check_size(width, height, dtype.itemsize)
            data = _take(file, width * height * dtype.itemsize)
            pixels = np.frombuffer(data, dtype).reshape(height, width)[::-1]
            return Decoded(choose_channel(pixels, channel))

        return choose_page(read, count, page, projection)


def _take(file, size: int) -> bytes:
    at = file.tell()
    if at + size > Path(file.name).stat().st_size:
        raise ImageError("it is cut off: data are missing at its end")
    return file.read(size)
