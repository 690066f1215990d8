"""Nikon NIS-Elements (.nd2), by the package nd2 (BSD-3-Clause, extra `formats`)."""

from pathlib import Path

import numpy as np

from microloftr.errors import ImageError, ParameterError
from microloftr.formats.which import optional_package
from microloftr.pixels import Decoded, check_size, choose_channel, choose_page
from microloftr.quiet import muted, unwarned


def decode(path: Path, channel: int | None, page: int | None, projection: str | None) -> Decoded:
    """One frame (time, position, depth: in the file's order) in one channel, or the projection of all frames.

    Raises ImageError for damage and for frames that were never written, ParameterError for a channel that is not there.
    """
    reader = optional_package("nd2", "Nikon ND2")
    with muted("nd2"), unwarned(), reader.ND2File(path) as file:
        about = file.attributes
        bits, width, height = about.bitsPerComponentInMemory, about.widthPx or 0, about.heightPx
        channels = about.channelCount or 1
        samples = about.componentCount // channels
        row = (about.widthBytes or 0) * 8 // (bits * about.componentCount)  # with its padding
        check_size(max(width, row), height, about.componentCount * bits // 8)
        colour = samples >= 3 and channels == 1
        if not colour and not 0 <= (channel or 0) < channels:
            raise ParameterError(f"channel is {channel}; channels are numbered 0 to {channels - 1}")

        def read(number: int) -> Decoded:
            frame = file.read_frame(number).reshape(channels, height, width, samples)
            # colours are stored blue first
            plane = frame[0, :, :, 2::-1] if colour else frame[channel or 0, :, :, 0]
            pixels = np.array(choose_channel(plane, channel if colour else None))  # the file closes behind it
            if not pixels.any():  # what nd2 gives for frames that are missing
                raise ImageError(f"its page {number} is missing or holds nothing but zeros")
            return Decoded(pixels, _um_per_px(file))

        return choose_page(read, about.sequenceCount, page, projection)


def _um_per_px(file) -> float | None:
    try:
        volume = file.metadata.channels[0].volume
        size = float(volume.axesCalibration[0]) if volume.axesCalibrated[0] else 0.0
    except Exception:  # nd2 stumbles over metadata that lack this or that; the pixels are there all the same
        return None
    return size if size > 0 else None
