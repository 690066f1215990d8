"""Outputs made the same on every run: no times, no widgets, no software names in pictures."""

import base64
import binascii
import struct
from collections.abc import Iterator

from nbformat import NotebookNode

WIDGET = "application/vnd.jupyter.widget-view+json"
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Chunks of a PNG that say when and with what it was made; the picture does not need them.
PNG_REMARKS = {b"tEXt", b"zTXt", b"iTXt", b"tIME", b"eXIf"}


def strip_png(png: bytes) -> bytes:
    """The same picture without dates, software names and other remarks; bytes that are no PNG come back as they are."""
    if not png.startswith(PNG_SIGNATURE):
        return png
    kept = [chunk for kind, chunk in _png_chunks(png) if kind not in PNG_REMARKS]
    return PNG_SIGNATURE + b"".join(kept)


def tidy_outputs(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Outputs without widget views (their ids are random; a static twin stands beside them) and with stripped PNGs."""
    kept = []
    for output in outputs:
        data = output.get("data", {})
        if WIDGET in data:
            continue
        if "image/png" in data:
            data["image/png"] = base64.b64encode(strip_png(output_png(output))).decode("ascii")
        if output.output_type == "error":
            output["traceback"] = []
        kept.append(output)
    return kept


def output_png(output: NotebookNode) -> bytes:
    """The PNG of one output as bytes, empty when there is none or it is damaged."""
    try:
        return base64.b64decode(output.get("data", {}).get("image/png", ""))
    except binascii.Error:
        return b""


def output_text(output: NotebookNode) -> str:
    """What a reader sees of one output as text; nothing for a picture, whose `<Figure size …>` says nothing."""
    if output.output_type == "stream":
        return output.text
    if output.output_type == "error":
        return f"{output.ename}: {output.evalue}\n"
    if any(kind.startswith("image/") for kind in output.data):
        return ""
    return output.data.get("text/plain", "") + "\n"


def _png_chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and whole bytes of each chunk: length (4, big endian), kind (4), data, checksum (4)."""
    place = len(PNG_SIGNATURE)
    while place < len(png):
        (length,) = struct.unpack(">I", png[place : place + 4])
        end = place + 12 + length
        yield png[place + 4 : place + 8], png[place:end]
        place = end
