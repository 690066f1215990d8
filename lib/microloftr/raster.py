"""Decode PNG, JPEG, JPEG 2000 and the other everyday formats, by Pillow."""

from pathlib import Path

import imagecodecs
import numpy as np
from PIL import Image

from microloftr.errors import ImageError
from microloftr.pixels import Decoded, check_size, choose_channel, choose_page, plausible
from microloftr.quiet import unwarned

FORMATS = ("PNG", "JPEG", "JPEG2000", "BMP", "PPM", "GIF", "WEBP")
_GREY_MODES = {"1", "L", "I;16", "I;16B", "I;16L", "I", "F"}


def decode_raster(path: Path, channel: int | None, page: int | None, projection: str | None) -> Decoded:
    """Decode one plane, or the projection of all frames, of a file that Pillow reads; alpha is dropped.

    Raises ImageError for a file that is no image, is damaged or too large, ParameterError for a page or channel that
    is not there.
    """
    with unwarned():  # one thread at a time: Pillow's size limit, too, belongs to the whole process
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # check_size below names size and limit instead
        try:
            with Image.open(path, formats=FORMATS) as picture:
                check_size(picture.width, picture.height, 4)
                count = getattr(picture, "n_frames", 1)
                return choose_page(lambda frame: _frame(path, picture, frame, channel), count, page, projection)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _frame(path: Path, picture: Image.Image, frame: int, channel: int | None) -> Decoded:
    if getattr(picture, "n_frames", 1) > 1:
        picture.seek(frame)
    um_per_px = _um_per_px(picture)
    if picture.format == "PNG" and _png_depth(path) == 16:
        pixels = imagecodecs.png_decode(path.read_bytes())  # Pillow keeps 8 of the 16 bits of colour and alpha
        if pixels.ndim == 3:
            pixels = pixels[:, :, 0] if pixels.shape[2] <= 2 else pixels[:, :, :3]
    elif picture.mode in _GREY_MODES:
        pixels = np.array(picture)
    elif picture.mode in ("LA", "La"):
        pixels = np.array(picture.getchannel(0))
    else:  # palettes are looked up, CMYK and YCbCr converted
        pixels = np.array(picture.convert("RGB"))
    return Decoded(choose_channel(pixels, channel), um_per_px)


def _png_depth(path: Path) -> int:
    with open(path, "rb") as file:
        header = file.read(25)
    if len(header) < 25:
        raise ImageError("it is cut off")
    return header[24]


def _um_per_px(picture: Image.Image) -> float | None:
    dpi = picture.info.get("dpi")
    return plausible(25400.0 / float(dpi[0])) if dpi and float(dpi[0]) > 0 else None
