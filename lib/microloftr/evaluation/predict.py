"""Step one of two: run a matcher on every pair of a protocol and write what it says into one file.

Scores are made from these files (see `predictions`) alone, so that another metric or estimator never needs the matcher
again. A file that the same matcher, code and pairs would make again is left as it is.

With several processes the pairs are matched side by side, one thread each; those times say nothing about one pair, so
that a few pairs are matched once more, one after the other, and the others' seconds are NaN.
"""

import argparse
import os
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from microloftr.errors import MicroLoFTRError, ParameterError
from microloftr.evaluation.identity import code_sha256, resize_of, weights_sha256
from microloftr.evaluation.matchers import MatcherLike, get_matcher, matcher_key
from microloftr.evaluation.predictions import load_predictions, save_predictions, write_predictions
from microloftr.evaluation.protocols import LEVEL_NAMES, PairSource, fingerprint, get_protocol
from microloftr.matches import Matches
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
TIMED = 8  # pairs matched one after the other for their time, where the others are matched side by side


def predictions_folder() -> Path:
    """runs/predictions beside results/: large, ignored by git, made again by this command."""
    return results_folder().parent / "runs" / "predictions"


def pairs_folder() -> Path:
    """runs/pairs: the made pairs of the levels, kept so that they need not be made at every command."""
    return predictions_folder().parent / "pairs"


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
    jobs: int = 1,
    retime: bool = False,
) -> Path:
    """Run the matcher on every pair and write its file; a file of the same weights, code and pairs is left as it is.

    `matcher`: what `get_matcher(name)` gives, where the caller has it. `pairs_sha256`: the protocol's fingerprint,
    likewise. `jobs`: processes. `retime`: of a current file take a few pairs' seconds anew, as on an idle machine.
    Interrupted work leaves no file. Returns the path.
    """
    if jobs < 1:
        raise ParameterError(f"There must be 1 or more jobs, not {jobs}.")
    matcher = get_matcher(name) if matcher is None else matcher
    path = predictions_path(folder, name, protocol)
    header = describe(name, matcher, protocol, pairs_sha256 or fingerprint(protocol))
    if not force and is_current(path, header):
        if retime:
            found = load_predictions(path)
            values = {"device": str(getattr(matcher, "device", "cpu")), "threads": _threads(matcher)}
            save_predictions(
                path, replace(found, header=found.header | values, seconds=_timed(name, matcher, protocol))
            )
        return path
    pairs = tqdm(protocol, desc=f"{name} on {protocol.name}", unit="pair", disable=None)
    parts, ids, seconds = _match_all(name, matcher, pairs) if jobs == 1 else _match_side_by_side(name, pairs, jobs)
    if jobs > 1:
        seconds = _timed(name, matcher, protocol)
    header |= {"commit": commit(), "device": str(getattr(matcher, "device", "cpu")), "threads": _threads(matcher)}
    write_predictions(path, header, ids, seconds, parts)
    return path


def _match_all(name: str, matcher: MatcherLike, pairs: Any) -> tuple[list[Matches], list[str], list[float]]:
    parts, ids, seconds = [], [], []
    for pair in pairs:
        start = time.perf_counter()
        with _naming(name, pair.id):
            matches = matcher.match(pair.image_0, pair.image_1)
        seconds.append(time.perf_counter() - start)
        parts.append(matches.top(MATCH_CAP))
        ids.append(pair.id)
    return parts, ids, seconds


def _match_side_by_side(name: str, pairs: Any, jobs: int) -> tuple[list[Matches], list[str], list[float]]:
    """The same by so many processes of one thread each, which make the matcher anew from its name."""
    parts, ids = [], []
    with _one_thread_each(), ProcessPoolExecutor(jobs, get_context("spawn"), _start_worker, (name,)) as pool:
        waiting = []
        for pair in pairs:
            waiting.append((pair.id, pool.submit(_work, pair.image_0, pair.image_1)))
            while len(waiting) > 2 * jobs:  # few images wait at a time
                _collect(name, waiting.pop(0), parts, ids)
        for one in waiting:
            _collect(name, one, parts, ids)
    return parts, ids, [float("nan")] * len(parts)


def _timed(name: str, matcher: MatcherLike, protocol: PairSource) -> np.ndarray:
    """Seconds (N,) of TIMED pairs that are spread over all, one after the other and warmed up; NaN for the others."""
    numbers = np.unique(np.linspace(0, len(protocol) - 1, TIMED).round().astype(int))
    _, _, measured = _match_all(name, matcher, [protocol[number] for number in (int(numbers[0]), *numbers.tolist())])
    seconds = np.full(len(protocol), np.nan)
    seconds[numbers] = measured[1:]
    return seconds


def _collect(name: str, one: tuple[str, Any], parts: list[Matches], ids: list[str]) -> None:
    with _naming(name, one[0]):
        parts.append(one[1].result())
    ids.append(one[0])


@contextmanager
def _naming(name: str, pair_id: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        error.add_note(f"The matcher {name} failed on pair {pair_id}.")
        raise


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """The environment in which processes start: libraries read their number of threads from it when first loaded."""
    wanted = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    before = {key: os.environ.get(key) for key in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for key, value in before.items():
            os.environ.pop(key) if value is None else os.environ.update({key: value})


_worker: list[MatcherLike] = []  # the matcher of this process, where it is a worker


def _start_worker(name: str) -> None:
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    cv2.setNumThreads(1)
    _worker[:] = [get_matcher(name)]


def _end_with(parent: int) -> None:
    """End this process soon after its parent: a command that was killed cannot tell its workers to stop."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _work(image_0: np.ndarray, image_1: np.ndarray) -> Matches:
    return _worker[0].match(image_0, image_1).top(MATCH_CAP)


def _threads(matcher: MatcherLike) -> int:
    torch = sys.modules.get("torch")
    return torch.get_num_threads() if torch and hasattr(matcher, "model") else cv2.getNumThreads()


def describe(name: str, matcher: MatcherLike, protocol: PairSource, pairs_sha256: str) -> dict[str, Any]:
    """The header's first part: whatever decides what the file holds."""
    values = (
        1,
        name,
        weights_sha256(matcher),
        code_sha256(matcher),
        f"{getattr(matcher, 'options', '')} {getattr(matcher, 'calibration', None) or ''}".strip(),
        resize_of(matcher),
        MATCH_CAP,
        protocol.name,
        protocol.split,
        pairs_sha256,
    )
    return dict(zip(IDENTITY, values, strict=True))


def is_current(path: Path, header: dict[str, Any]) -> bool:
    """Whether the file exists, is whole, and was made by the same matcher from the same pairs."""
    if not path.is_file():
        return False
    try:
        found = load_predictions(path).header
    except MicroLoFTRError:
        return False
    return all(found.get(key) == header[key] for key in IDENTITY)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m microloftr predict", description="Run a matcher on pairs, write files.")
    parser.add_argument("--matcher", required=True, help="rootsift, micro, a .safetensors, package.module.Class …")
    parser.add_argument("--pairs", required=True, help=f"{', '.join(LEVEL_NAMES)}, whole, a folder with pairs.json …")
    parser.add_argument("--split", default="validation", help="validation (for choosing) or test (final tables only)")
    parser.add_argument("--out", type=Path, default=None, help="folder for the files (runs/predictions)")
    parser.add_argument("--force", action="store_true", help="predict again where a file is there")
    parser.add_argument("--jobs", type=int, default=1, help="processes side by side, of one thread each (1)")
    options = parser.parse_args(argv)
    protocol = get_protocol(options.pairs, options.split, store=pairs_folder())
    folder = options.out or predictions_folder()
    print(predict(options.matcher, protocol, folder, force=options.force, jobs=options.jobs))
    return 0
