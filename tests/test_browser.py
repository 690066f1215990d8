"""JupyterLab in a headless Chromium: a notebook opens, runs, and its explorer answers to clicks and sliders.

Needs playwright (the extra `dev`) and Chromium (`apt install chromium`, or `playwright install chromium`).
"""

import io
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = "04_coarse_matching"
OWN_FOLDERS = ("CONFIG_DIR", "DATA_DIR", "RUNTIME_DIR")  # nothing of the user's own Jupyter is read or written


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[str]:
    """The address of a JupyterLab, as `make lab` starts it, over a copy of one pair of notebooks."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    for suffix in ("py", "ipynb"):
        shutil.copy(ROOT / "notebooks" / f"{NOTEBOOK}.{suffix}", folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = {f"JUPYTER_{name}": str(tmp_path / name) for name in OWN_FOLDERS}
    own |= {f"JUPYTERLAB_{name}_DIR": str(tmp_path / name) for name in ("SETTINGS", "WORKSPACES")}
    command = [sys.executable, "-m", "jupyterlab", str(folder), "--no-browser", "--allow-root", "--ip=127.0.0.1",
               f"--port={port}", "--IdentityProvider.token="]  # fmt: skip
    log = tmp_path / "lab.log"
    with open(log, "w") as output:
        server = subprocess.Popen(command, env={**os.environ, **own}, stdout=output, stderr=subprocess.STDOUT)
        try:
            deadline = time.monotonic() + 120
            while "is running at" not in log.read_text():
                assert server.poll() is None and time.monotonic() < deadline, log.read_text()[-2000:]
                time.sleep(0.2)
            yield f"http://127.0.0.1:{port}/lab/tree/{NOTEBOOK}.ipynb"
        finally:
            server.terminate()
            server.wait(60)


@pytest.fixture
def page(lab: str):
    """The notebook, open in a headless Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        known = (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome"))
        path = next((path for path in known if path), None)  # None: the one that playwright installed
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1500, "height": 1000})
        page.goto(lab, timeout=120_000)
        page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=120_000)
        page.get_by_text("| Idle").first.wait_for(timeout=120_000)  # run sooner, and JupyterLab asks for a kernel
        yield page
        browser.close()


def picture(canvas) -> np.ndarray:
    """What is seen of an element (H, W, 3) uint8."""
    return np.asarray(Image.open(io.BytesIO(canvas.screenshot())).convert("RGB"))


def changed(canvas, before: np.ndarray, seconds: float) -> np.ndarray:
    """The element's picture as soon as it is another than `before` and holds still; the last one if it never is."""
    deadline = time.monotonic() + seconds
    last = picture(canvas)
    while time.monotonic() < deadline:
        now = picture(canvas)
        if not np.array_equal(now, before) and np.array_equal(now, last):
            return now
        last = now
    return last


@pytest.mark.long
def test_the_explorer_answers_in_jupyterlab(page):
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()
    canvas = page.locator(".jupyter-matplotlib-canvas-div canvas").last
    canvas.wait_for(timeout=300_000)
    canvas.scroll_into_view_if_needed()
    page.mouse.move(5, 5)  # the pointer elsewhere, the page at rest
    first = changed(canvas, np.zeros(0), 5)
    assert len(np.unique(first.reshape(-1, 3), axis=0)) > 100  # there is a picture
    assert page.locator(".jp-RenderedText[data-mime-type='application/vnd.jupyter.stderr']").count() == 0

    box = canvas.bounding_box()
    page.mouse.click(box["x"] + 0.2 * box["width"], box["y"] + 0.6 * box["height"])  # a cell of image_0
    clicked = changed(canvas, first, 20)
    for left, right in ((0.0, 0.36), (0.37, 0.73), (0.74, 1.0)):  # image_0, image_1, the closer look
        part = slice(round(left * first.shape[1]), round(right * first.shape[1]))
        assert (first[:, part] != clicked[:, part]).any(), (left, right)

    threshold = page.get_by_role("slider").first
    for key in ("End", "Home"):
        before = picture(canvas)
        threshold.focus()
        page.keyboard.press(key)
        after = changed(canvas, before, 20)
        assert (after != before).any(), key

    before = picture(canvas)
    page.get_by_label("show the truth").click()
    assert (changed(canvas, before, 20) != before).any()
