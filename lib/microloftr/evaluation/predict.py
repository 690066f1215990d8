"""Step one of two: run a matcher on every pair of a protocol and write what it says into one file.

The file (`.npz`, no pickles) holds points_0, points_1 (M, 2), confidence (M,), the points before refinement where the
matcher tells them, offsets (N + 1,) of the N pairs, their ids, seconds (N,) and a header in JSON. Scores are made from
these files alone, so that another metric or estimator never needs the matcher again.
"""

import argparse
import hashlib
import inspect
import json
import os
import time
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

import microloftr
from microloftr.errors import MicroLoFTRError, ParameterError
from microloftr.evaluation.baselines import NO_RESIZE, MatcherLike, get_matcher, matcher_key
from microloftr.evaluation.protocols import LEVEL_NAMES, PairSource, fingerprint, get_protocol
from microloftr.files import atomic_write
from microloftr.results import commit, results_folder

MATCH_CAP = 4096  # the most confident so many, the same for every matcher
IDENTITY = (
    "format",
    "matcher",
    "weights_sha256",
    "code_sha256",
    "options",
    "resize",
    "match_cap",
    "protocol",
    "split",
    "pairs_sha256",
)
POINTS = ("points_0", "points_1", "coarse_points_0", "coarse_points_1")


@dataclass(frozen=True, eq=False)
class Predictions:
    """What one file holds; pair k owns the rows offsets[k] to offsets[k + 1] of the points."""

    header: dict[str, Any]
    ids: list[str]
    offsets: np.ndarray
    seconds: np.ndarray
    confidence: np.ndarray
    points_0: np.ndarray
    points_1: np.ndarray
    coarse_points_0: np.ndarray | None = None
    coarse_points_1: np.ndarray | None = None

    def points(self, number: int, coarse: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """points_0, points_1 (M, 2) float64 of one pair, after refinement or before it."""
        rows = slice(self.offsets[number], self.offsets[number + 1])
        pair = (self.coarse_points_0, self.coarse_points_1) if coarse else (self.points_0, self.points_1)
        return pair[0][rows].astype(np.float64), pair[1][rows].astype(np.float64)


def predictions_folder() -> Path:
    """runs/predictions beside results/: large, ignored by git, made again by this command."""
    return results_folder().parent / "runs" / "predictions"


def predictions_path(folder: Path, name: str, protocol: PairSource) -> Path:
    file = f"{protocol.name}_{protocol.split}.npz" if protocol.made else f"{protocol.name}.npz"
    return Path(folder) / matcher_key(name) / file


def predict(
    name: str,
    protocol: PairSource,
    folder: Path,
    *,
    matcher: MatcherLike | None = None,
    pairs_sha256: str | None = None,
    force: bool = False,
) -> Path:
    """Run the matcher on every pair and write its file; a file of the same weights, code and pairs is left as it is.

    `matcher`: the object to run under this name, else `get_matcher(name)`. `pairs_sha256`: the protocol's fingerprint
    where the caller has it. Interrupted work leaves no file. Returns the path.
    """
    matcher = get_matcher(name) if matcher is None else matcher
    path = predictions_path(folder, name, protocol)
    header = describe(name, matcher, protocol, pairs_sha256 or fingerprint(protocol))
    if not force and is_current(path, header):
        return path
    parts, ids, seconds = [], [], []
    for pair in tqdm(protocol, desc=f"{name} on {protocol.name}", unit="pair", disable=None):
        start = time.perf_counter()
        try:
            matches = matcher.match(pair.image_0, pair.image_1)
        except Exception as error:
            error.add_note(f"The matcher {name} failed on pair {pair.id}.")
            raise
        seconds.append(time.perf_counter() - start)
        parts.append(matches.top(MATCH_CAP))
        ids.append(pair.id)
    header |= {"commit": commit(), "device": str(getattr(matcher, "device", "cpu")), "threads": cv2.getNumThreads()}
    _write(path, header, ids, seconds, parts)
    return path


def describe(name: str, matcher: MatcherLike, protocol: PairSource, pairs_sha256: str) -> dict[str, Any]:
    """The header's first part: whatever decides what the file holds."""
    values = (
        1,
        name,
        weights_sha256(matcher),
        code_sha256(matcher),
        str(getattr(matcher, "options", "")),
        resize_of(matcher),
        MATCH_CAP,
        protocol.name,
        protocol.split,
        pairs_sha256,
    )
    return dict(zip(IDENTITY, values, strict=True))


def resize_of(matcher: MatcherLike) -> str:
    """What the matcher does to large images, in words for the tables."""
    long_side = getattr(getattr(matcher, "options", None), "long_side", None)
    return str(getattr(matcher, "resize", f"long side to at most {long_side} px" if long_side else NO_RESIZE))


def is_current(path: Path, header: dict[str, Any]) -> bool:
    """Whether the file exists, is whole, and was made by the same matcher from the same pairs."""
    if not path.is_file():
        return False
    try:
        found = load_predictions(path).header
    except MicroLoFTRError:
        return False
    return all(found.get(key) == header[key] for key in IDENTITY)


def weights_sha256(matcher: MatcherLike) -> str | None:
    """Hash of the names and values of the weights of a matcher with a torch `model`; None where it has none."""
    model = getattr(matcher, "model", None)
    if not hasattr(model, "state_dict"):
        return None
    digest = hashlib.sha256()
    for key, tensor in sorted(model.state_dict().items()):
        array = tensor.detach().float().cpu().numpy()
        digest.update(f"{key} {array.shape}".encode() + array.tobytes())
    return digest.hexdigest()


def code_sha256(matcher: MatcherLike) -> str:
    """Hash of the source that decides the answer: the matcher's own file, image reading, and for ours the model."""
    package = Path(microloftr.__file__).parent
    files = [package / "images.py", package / "pixels.py"]
    if hasattr(getattr(matcher, "model", None), "state_dict"):
        files += [package / "geometry.py", package / "matching.py", *sorted((package / "model").glob("*.py"))]
    try:
        files.append(Path(inspect.getsourcefile(type(matcher)) or "unknown"))
    except TypeError:
        files.append(Path("unknown"))
    digest = hashlib.sha256()
    for file in files:  # a class without a file, as one typed into a console, may be another each time
        digest.update(file.read_bytes() if file.is_file() else os.urandom(32))
    return digest.hexdigest()


def _write(path: Path, header: dict[str, Any], ids: list[str], seconds: list[float], parts: Sequence[Any]) -> None:
    has_coarse = any(part.coarse_points_1 is not None for part in parts)
    arrays = {name: [] for name in (POINTS if has_coarse else POINTS[:2])}
    for pair_id, part in zip(ids, parts, strict=True):
        if has_coarse and len(part) and part.coarse_points_1 is None:
            raise ParameterError(f"The matcher gives coarse points for some pairs, but not for pair {pair_id}.")
        values = {"points_0": part.points_0, "points_1": part.points_1}
        values["coarse_points_1"] = part.points_1 if part.coarse_points_1 is None else part.coarse_points_1
        values["coarse_points_0"] = part.points_0 if part.coarse_points_0 is None else part.coarse_points_0
        for name, rows in arrays.items():
            rows.append(values[name])
    with atomic_write(path) as temporary:
        np.savez(
            temporary,
            header=np.array(json.dumps(header)),
            ids=np.array(ids, dtype=np.str_),
            offsets=np.cumsum([0, *(len(part) for part in parts)]),
            seconds=np.array(seconds),
            confidence=np.concatenate([part.confidence for part in parts]).astype(np.float32),
            **{name: np.concatenate(rows).astype(np.float32) for name, rows in arrays.items()},
        )


def load_predictions(path: str | os.PathLike) -> Predictions:
    """Read a file of predictions. Raises ParameterError where it is missing, damaged or of another format."""
    try:
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        header = json.loads(str(arrays.pop("header")))
        if header["format"] != 1:
            raise ValueError(f"format {header['format']}")
        return Predictions(header, arrays.pop("ids").tolist(), **arrays)
    except FileNotFoundError:
        raise ParameterError(f"There are no predictions {path}; run `python -m microloftr predict` first.") from None
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise ParameterError(f"{path} is no file of predictions: {error}.") from error


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m microloftr predict", description="Run a matcher on pairs, write files.")
    parser.add_argument("--matcher", required=True, help="rootsift, micro, a .safetensors, package.module.Class …")
    parser.add_argument("--pairs", required=True, help=f"{', '.join(LEVEL_NAMES)}, or a folder with pairs.json")
    parser.add_argument("--split", default="validation", help="validation (for choosing) or test (final tables only)")
    parser.add_argument("--out", type=Path, default=None, help="folder for the files (runs/predictions)")
    parser.add_argument("--force", action="store_true", help="predict again where a file is there")
    options = parser.parse_args(argv)
    protocol = get_protocol(options.pairs, options.split)
    print(predict(options.matcher, protocol, options.out or predictions_folder(), force=options.force))
    return 0
