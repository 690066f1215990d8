"""The result of one pair: its numbers in words that anybody reads, and its files in one folder."""

import os
from pathlib import Path
from typing import Any

from microloftr.errors import ParameterError
from microloftr.files import write_json
from microloftr.matches import Matches
from microloftr.registration.families import FAMILIES
from microloftr.registration.overlay import Overlay
from microloftr.registration.plausible import a_family
from microloftr.registration.transform import AUTO, Transform, try_family


def summarise(
    matches: Matches, transform: Transform | None, family: str = AUTO, threshold: float = 2.0
) -> dict[str, Any]:
    """What matters about a pair as a flat dictionary: numbers, short texts, None for what is not known.

    Without a transform it says why there is none for the family and threshold asked for.
    """
    summary: dict[str, Any] = {"answer": "no match" if transform is None else "match", "matches": len(matches)}
    if transform is None:
        return summary | {"reason": reason_for_none(matches, family, threshold)}
    summary |= {"inliers": transform.n_inliers, "median_residual_px": transform.median_residual}
    summary |= {"family": transform.family, "rotation_deg": transform.rotation_deg, "scale": transform.scale}
    summary |= {"overlap": transform.overlap, "um_per_px_0": matches.um_per_px_0, "um_per_px_1": matches.um_per_px_1}
    if matches.um_per_px_0 and matches.um_per_px_1:  # near 1 when both pixel sizes are right
        summary["scale_in_um"] = transform.scale * matches.um_per_px_1 / matches.um_per_px_0
    return summary


def describe(summary: dict[str, Any]) -> str:
    """The summary as a few plain sentences."""
    if summary["answer"] == "no match":
        return f"No match: no transform takes image_0 to image_1. {summary['reason']}"
    angle, scale = summary["rotation_deg"], summary["scale"]
    direction = "clockwise" if angle > 0 else "anticlockwise"
    lines = [
        f"Match: {summary['inliers']} of {summary['matches']} matches agree on {a_family(summary['family'])}.",
        f"From image_0 to image_1 the specimen turns by {abs(angle):.1f}° {direction} and grows {scale:.3f} times.",
        f"image_1 shows {summary['overlap']:.0%} of image_0.",
        f"The matches that agree lie {summary['median_residual_px']:.2f} px (median) from where it puts them.",
    ]
    if "scale_in_um" in summary:
        lines.append(f"In µm the factor is {summary['scale_in_um']:.3f}; 1 when both pixel sizes are right.")
    if summary.get("error_px") is not None:
        lines.append(f"The truth is known here: the corners of image_0 are {summary['error_px']:.2f} px off (mean).")
    return "\n".join(lines)


def reason_for_none(matches: Matches, family: str = AUTO, threshold: float = 2.0) -> str:
    """Why `estimate_transform` gave None, as a sentence; for "auto" the reason against a similarity stands for all."""
    families = FAMILIES if family == AUTO else (family,)
    reasons = {name: try_family(matches, name, threshold) for name in families}
    found = [name for name, outcome in reasons.items() if isinstance(outcome, Transform)]
    if found:
        raise ParameterError(f"The matches agree on {', '.join(found)}, so there is no reason to give.")
    return str(reasons["similarity" if family == AUTO else family])


def write_result(
    folder: str | os.PathLike,
    matches: Matches,
    transform: Transform | None,
    picture: Overlay | None,
    summary: dict[str, Any],
) -> list[Path]:
    """Write matches.csv, transform.json, overlay.png and, last, summary.json into a folder; returns their paths.

    Without a transform there is neither transform.json nor overlay.png: those of an earlier result are removed, so that
    nobody takes them for this one's. ParameterError where the folder cannot be written.
    """
    folder = Path(folder)
    paths = {name: folder / name for name in ("matches.csv", "transform.json", "overlay.png", "summary.json")}
    try:
        paths["summary.json"].unlink(missing_ok=True)
        matches.to_csv(paths["matches.csv"])
        for name, value in (("transform.json", transform), ("overlay.png", picture)):
            if value is None:
                paths.pop(name).unlink(missing_ok=True)
            else:
                value.save(paths[name])
        write_json(paths["summary.json"], summary)
    except OSError as error:
        raise ParameterError(f"The folder {folder} cannot be written: {error.strerror or error}.") from None
    return list(paths.values())
