"""The pixel size that a TIFF file tells: in its OME XML, by ImageJ, in its maker's tags, or by its resolution."""

from xml.etree import ElementTree

import tifffile

from microloftr.pixels import micrometres, plausible

_PRINTED = ("inch", "in", "cm")  # units that programs fill in by themselves: 72 dpi says nothing of a microscope


def um_per_px(file: tifffile.TiffFile, series: int) -> float | None:
    """Micrometres per pixel along x of the series' first page, or None where nothing trustworthy says it."""
    for source in (_ome, _maker, _resolution):
        try:
            if (size := source(file, series)) is not None:
                return size
        except (ElementTree.ParseError, AttributeError, IndexError, KeyError, StopIteration, TypeError, ValueError):
            continue  # what is damaged or missing says nothing
    return None


def _ome(file: tifffile.TiffFile, series: int) -> float | None:
    if not file.is_ome:
        return None
    images = [node for node in ElementTree.fromstring(file.ome_metadata).iter() if node.tag.endswith("Pixels")]
    about = images[min(series, len(images) - 1)].attrib
    return micrometres(float(about["PhysicalSizeX"]), about.get("PhysicalSizeXUnit", "µm"))


def _maker(file: tifffile.TiffFile, series: int) -> float | None:
    """Electron microscopes (Zeiss, FEI), Olympus SIS, and the slide itself in an Aperio file."""
    if file.is_sem:
        about = file.sem_metadata
        _, size, unit = about["ap_image_pixel_size"] if "ap_image_pixel_size" in about else about["ap_pixel_size"]
        return micrometres(float(size), unit)
    if file.is_fei:
        parts = (file.fei_metadata.get(name, {}) for name in ("Scan", "EScan", "IScan"))
        return micrometres(next(float(part["PixelWidth"]) for part in parts if part.get("PixelWidth")), "m")
    if file.is_sis:
        return micrometres(float(file.sis_metadata["pixelsizex"]), "m")
    if file.is_svs and series == 0:  # label and overview quote the slide's
        return micrometres(float(tifffile.tifffile.svs_description_metadata(file.pages.first.description)["MPP"]), "µm")
    return None


def _resolution(file: tifffile.TiffFile, series: int) -> float | None:
    tags = file.series[series].keyframe.tags
    above, below = tags["XResolution"].value
    size = below / above if above else 0.0
    unit = str((file.imagej_metadata or {}).get("unit", "")) if file.is_imagej else ""
    if (um := micrometres(size, unit)) is not None:
        return plausible(um) if unit.strip().lower() in _PRINTED else um
    number = int(tags["ResolutionUnit"].value) if "ResolutionUnit" in tags else 2
    return plausible(micrometres(size, {2: "inch", 3: "cm"}.get(number, "")))
