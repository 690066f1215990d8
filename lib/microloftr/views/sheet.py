"""`python -m microloftr sheet`: a sheet of made pairs to look at, image_0 | image_1 | both laid over each other.

Do they resemble what two microscopes give? No number answers that.
"""

import argparse
import io
from functools import cache
from pathlib import Path

import numpy as np
from matplotlib import get_data_path
from PIL import Image as Picture
from PIL import ImageDraw, ImageFont

from microloftr.data.atlas import Atlas
from microloftr.data.fixed import split_atlas
from microloftr.data.levels import MIXTURES
from microloftr.data.pairs import PairBatch, make_pairs
from microloftr.errors import ParameterError
from microloftr.files import atomic_write
from microloftr.images import resize
from microloftr.registration.overlay import overlay
from microloftr.registration.transform import Transform
from microloftr.results import results_folder

OUT = Path("docs_obsidian/attachments/training_pairs.png")
COLUMNS = 3
GAP, SEAM, STRIP, FONT = 10, 2, 22, 15  # pixels: between pairs and pictures, height of a label, size of its letters
LARGEST = 600 * 1024  # bytes of the file; noise compresses badly, so the pictures are shrunk until it fits
SIDES = (144, 128, 112, 96, 80, 64, 48, 32)  # of a picture on the sheet, pixels
LEGEND = "image_0  |  image_1  |  image_1 laid over image_0: magenta image_0, green image_1, grey both"
MOST = 96


class Parser(argparse.ArgumentParser):
    """Says what is wrong as one of our own errors, in one line, without the usage."""

    def error(self, message: str) -> None:
        raise ParameterError(f"{self.prog.rpartition(' ')[2]}: {message}")


def make_sheet(batch: PairBatch, labels: list[str], side: int, title: str = LEGEND) -> np.ndarray:
    """The sheet (H, W, 3) uint8 of B pairs with a label each, COLUMNS pairs a row, every picture side×side pixels."""
    columns = min(COLUMNS, len(batch))
    width, height = 3 * side + 2 * SEAM, side + STRIP
    rows = -(-len(batch) // columns)
    sheet = np.full((STRIP + GAP + rows * (height + GAP), columns * (width + GAP) - GAP, 3), 255, np.uint8)
    write(sheet[:STRIP], title)
    for k in range(len(batch)):
        top = STRIP + GAP + k // columns * (height + GAP)
        left = k % columns * (width + GAP)
        write(sheet[top : top + STRIP, left : left + width], labels[k])
        sheet[top + STRIP : top + height, left : left + width] = triple(batch, k, side)
    return sheet


def triple(batch: PairBatch, k: int, side: int) -> np.ndarray:
    """Pair k as three pictures (side, 3·side + 2·SEAM, 3) uint8: image_0, image_1, and image_1 laid over image_0."""
    images = [crops[k, 0].cpu().numpy() for crops in (batch.images_0, batch.images_1)]
    laid = overlay(*images, batch.homography[k].cpu().numpy()).pixels
    grey = [np.repeat(np.rint(_shrunk(image, side) * 255).astype(np.uint8)[..., None], 3, axis=2) for image in images]
    colours = [np.rint(_shrunk(np.float32(laid[..., c]) / 255, side) * 255).astype(np.uint8) for c in range(3)]
    seam = np.full((side, SEAM, 3), 255, np.uint8)
    return np.concatenate([grey[0], seam, grey[1], seam, np.stack(colours, axis=2)], axis=1)


def labels_of(batch: PairBatch, atlas: Atlas) -> list[str]:
    """A line for each pair: modality, rotation, scale and overlap."""
    labels = []
    size = (batch.images_0.shape[-1], batch.images_0.shape[-2])
    for m, matrix, shared in zip(batch.micrograph.tolist(), batch.homography.cpu().numpy(), batch.overlap, strict=True):
        warp = Transform(matrix, "homography", size, size)
        modality = atlas.modalities[m].replace("_", " ")
        angle = f"{round(warp.rotation_deg):d}°".replace("-", "−")
        labels.append(f"{modality}  {angle}  ×{warp.scale:.2f}  shared {float(shared):.0%}")
    return labels


def write(strip: np.ndarray, text: str) -> None:
    """Write a line of text, black, into a strip (h, w, 3) of a sheet; what is too long for it is cut off."""
    picture = Picture.fromarray(np.ascontiguousarray(strip))
    draw = ImageDraw.Draw(picture)
    draw.fontmode = "L"
    while text and draw.textlength(text, font=_font()) > strip.shape[1]:
        text = text[:-1]
    draw.text((1, 2), text, fill=(0, 0, 0), font=_font())
    strip[:] = np.asarray(picture)


def png_bytes(pixels: np.ndarray, colours: int = 256) -> bytes:
    """A picture (H, W, 3) uint8 as a PNG of few colours, without date or program name."""
    few = Picture.fromarray(pixels).quantize(colours, method=Picture.Quantize.FASTOCTREE, dither=Picture.Dither.NONE)
    buffer = io.BytesIO()
    few.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def fitting(batch: PairBatch, labels: list[str], title: str = LEGEND, largest: int = LARGEST) -> bytes:
    """The sheet as a PNG of at most `largest` bytes, its pictures as large as that allows."""
    most = max(batch.images_0.shape[-2:])
    for side in [side for side in SIDES if side <= max(most, SIDES[-1])]:
        data = png_bytes(make_sheet(batch, labels, side, title))
        if len(data) <= largest:
            return data
    raise ParameterError(f"{len(batch)} pairs do not fit into {largest // 1024} KiB; ask for fewer with --count.")


def main(argv: list[str]) -> int:
    """Command line."""
    parser = Parser(prog="python -m microloftr sheet", description="A sheet of made pairs of the bundled micrographs.")
    parser.add_argument("--mixture", default="train", help=f"one of {', '.join(MIXTURES)}")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=24)
    parser.add_argument("--size", type=int, default=144, help="side of the crops in pixels")
    parser.add_argument("--out", type=Path, default=None, metavar="FILE.png", help=f"where it goes ({OUT})")
    options = parser.parse_args(argv)
    check(options.mixture, options.seed, options.count, options.size)
    path = options.out or results_folder().parent / OUT
    if path.suffix.lower() != ".png":
        raise ParameterError(f"A sheet is written as PNG; {path} must end in .png.")
    atlas = split_atlas("train")
    batch = make_pairs(atlas, options.mixture, options.seed, np.arange(options.count), options.size)
    data = fitting(batch, labels_of(batch, atlas))
    try:
        with atomic_write(path) as temporary:
            temporary.write_bytes(data)
    except OSError as error:
        raise ParameterError(f"{path} cannot be written: {error.strerror or error}.") from None
    print(f"{path}: {options.count} pairs, {len(data) // 1024} KiB")
    return 0


def check(mixture: str, seed: int, count: int, size: int) -> None:
    """ParameterError for values that no sheet can be made of."""
    if mixture not in MIXTURES:
        raise ParameterError(f"--mixture is {mixture!r}; it must be one of {', '.join(MIXTURES)}.")
    for name, value, least, most in (("seed", seed, 0, 2**63 - 1), ("count", count, 1, MOST), ("size", size, 32, 512)):
        if not least <= value <= most:
            raise ParameterError(f"--{name} is {value}; it must be a whole number from {least} to {most}.")


def _shrunk(pixels: np.ndarray, side: int) -> np.ndarray:
    return pixels if pixels.shape == (side, side) else resize(pixels, (side, side))


@cache
def _font() -> ImageFont.FreeTypeFont:
    """matplotlib brings the font, so labels look the same everywhere, here and in the other figures."""
    return ImageFont.truetype(str(Path(get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), FONT)
