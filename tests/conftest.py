"""What every test runs under: one thread each (two workers share two cores), no window, no network."""

import os
import socket
import time
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENCV_FOR_THREADS_NUM", "1")
os.environ["MPLBACKEND"] = "Agg"
_connect = socket.socket.connect


def _connect_here(self: socket.socket, address):
    """Connect to this machine only: a test that would need the network fails and says so."""
    if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1", "localhost"):
        raise RuntimeError(f"A test tried to reach {address[0]}: tests run without a network.")
    return _connect(self, address)


socket.socket.connect = _connect_here
_STARTED = pytest.StashKey[float]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--record", metavar="FILE", help="write what ran, how long and how it ended to FILE.json")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_STARTED] = time.perf_counter()


def pytest_terminal_summary(terminalreporter, config: pytest.Config) -> None:
    record = config.getoption("--record")
    if record:
        from microloftr.results import write_result

        outcomes = {name: terminalreporter.stats.get(name, []) for name in ("passed", "failed", "error", "skipped")}
        slowest = sorted((report for reports in outcomes.values() for report in reports), key=lambda r: -r.duration)
        values = {
            **{name: len(reports) for name, reports in outcomes.items()},
            "seconds": round(time.perf_counter() - config.stash[_STARTED], 1),
            "slowest": [{"test": report.nodeid, "seconds": round(report.duration, 1)} for report in slowest[:10]],
        }
        write_result(Path(record).stem, values, command="make test-long", folder=Path(record).parent)
