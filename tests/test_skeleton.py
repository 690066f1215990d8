"""README, Makefile and `python -m microloftr` say the same and hold."""

import ast
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def run(*command: str, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, text=True, capture_output=True, **options)


# --- README and Makefile


def tree_paths(readme: str) -> list[str]:
    """Paths of the captioned tree: a ```text block of `name  caption` lines, two spaces deeper for what lies inside."""
    block = re.search(r"^```text\n(.*?)^```", readme, re.M | re.S)[1]
    paths, parents = [], []
    for line in block.splitlines():
        name = line.split()[0]
        depth = (len(line) - len(line.lstrip())) // 2
        parents = [*parents[:depth], name]
        paths.append("/".join(part.rstrip("/") for part in parents))
    return paths


def makefile_targets(makefile: str) -> set[str]:
    return set(re.findall(r"^([a-z-]+):.*## ", makefile, re.M)) - {"help"}


def readme_targets(readme: str) -> set[str]:
    """Targets of the table that gives each one's `python -m` line."""
    return set(re.findall(r"^\| `make ([a-z-]+)[^`]*` \| `python -m [^`]+`", readme, re.M))


def test_names_of_the_tree_exist():
    paths = tree_paths(read("README.md"))
    assert len(paths) > 20
    assert [path for path in paths if not (ROOT / path).exists()] == []
    assert tree_paths("```text\nlib/  x\n  a/\n    b.py  y\ntests/\n```\n") == ["lib", "lib/a", "lib/a/b.py", "tests"]


def broken_links(text: str) -> list[str]:
    """Relative targets of links and pictures that are not there."""
    return [target for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", text) if not (ROOT / target).exists()]


def test_links_lead_somewhere():
    assert {name: broken_links(read(name)) for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")} == {
        "README.md": [],
        "CONTRIBUTING.md": [],
        "CHANGELOG.md": [],
    }
    assert broken_links("[a](README.md) [b](nowhere.md) ![c](no/d.png) [e](https://f)") == ["nowhere.md", "no/d.png"]


def test_readme_documents_every_target():
    assert makefile_targets(read("Makefile")) == readme_targets(read("README.md"))
    assert readme_targets("| `make a [X=]` | `python -m b` | c |\n| `make d` | | |\n") == {"a"}


def test_make_alone_lists_the_targets():
    listed = run("make", "--no-print-directory").stdout
    assert set(re.findall(r"^  ([a-z-]+) ", listed, re.M)) == makefile_targets(read("Makefile")) | {"help"}


@pytest.fixture
def fake_project(tmp_path):
    """The Makefile in a folder of its own; its Python writes its arguments down, and cannot install while `fail` is."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    fake = tmp_path / "fake.sh"
    fake.write_text(
        '#!/bin/sh\nprintf "<%s>" "$@" >> log; echo >> log\n'
        'case "$*" in "-m venv"*) mkdir -p .venv/bin && cp "$0" .venv/bin/python;; '
        '*" uv"|*"uv --version") test ! -e no-uv;; *" -e "*) test ! -e fail;; esac\n'
    )
    fake.chmod(0o755)

    def make(*arguments: str) -> tuple[int, list[str], str]:
        (tmp_path / "log").write_text("")
        command = ["make", "--no-print-directory", "PYTHON=./fake.sh", *arguments]
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS", "UV_"))}
        done = subprocess.run(command, cwd=tmp_path, env=clean, capture_output=True, text=True)
        return done.returncode, (tmp_path / "log").read_text().splitlines(), done.stderr

    return tmp_path, make


def test_environment_is_made_once_and_never_half(fake_project):
    folder, make = fake_project
    (folder / "fail").touch()
    status, log, _ = make("test")
    assert status != 0 and not (folder / ".venv/.ready").exists() and "pytest" not in "".join(log)
    (folder / "fail").unlink()
    status, log, _ = make("test")
    assert status == 0 and log[-1] == "<-m><pytest><-n><2>"
    assert any("<-e><.[dev]><-c><constraints.txt>" in line for line in log)
    assert make("test")[1] == ["<-m><pytest><-n><2>"]
    os.utime(folder / ".venv/.ready", (0, 0))
    assert len(make("test")[1]) > 1


def test_pip_stands_in_for_uv(fake_project):
    folder, make = fake_project
    (folder / "no-uv").touch()
    status, log, error = make("test")
    assert status == 0 and "pip takes longer" in error
    assert "<-m><pip><install><--disable-pip-version-check><-e><.[dev]><-c><constraints.txt>" in log


def test_training_brings_the_peers(fake_project):
    _, make = fake_project
    log = make("train", "OVERRIDES=train.steps=2 data.sizes=[1,*]")[1]
    assert any("<-e><.[peers]>" in line for line in log)
    assert log[-1] == "<-m><microloftr><train><train.steps=2><data.sizes=[1,*]>"
    assert make("train")[1] == ["<-m><microloftr><train>"]


def test_moved_folder_makes_its_own_environment(fake_project):
    folder, make = fake_project
    make("test")
    (folder / ".venv/.ready").write_text("elsewhere\n")
    assert "<-m><venv><--clear><.venv>" in make("test")[1]
    assert make("test")[1] == ["<-m><pytest><-n><2>"]


def test_match_hands_on_what_the_user_typed(fake_project):
    _, make = fake_project
    make("match")
    image = "a b/it's $HOME;'\"*.tif"
    assert make("match", f"IMAGE_0={image}", "IMAGE_1=b", "UM_PER_PX_1=.5")[1][-1] == (
        f"<-m><literate><match><--out=><--um-per-px-0=><--um-per-px-1=.5><--><{image}><b>"
    )


def test_old_python_is_told_in_one_sentence(fake_project):
    folder, make = fake_project
    status, _, error = make("test", "PYTHON=false")
    assert status != 0 and error.startswith("MicroLoFTR needs Python 3.11 or newer") and not (folder / ".venv").exists()


# --- python -m microloftr


def test_commands_are_listed_and_exist():
    from microloftr.__main__ import COMMANDS

    listed = run(sys.executable, "-m", "microloftr")
    assert listed.returncode == 0 and listed.stderr == ""
    for name, (module, text) in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(text)}$", listed.stdout, re.M)
        tree = ast.parse(Path(find_spec(module).origin).read_text(encoding="utf-8"))
        assert "main" in [node.name for node in tree.body if isinstance(node, ast.FunctionDef)], f"{module} has no main"


def test_unknown_command_names_the_near_one(capsys):
    from microloftr.__main__ import main

    assert main(["tran"]) == 2
    assert capsys.readouterr() == ("", "error: There is no command 'tran': did you mean 'train'?\n")
    assert main(["xyzzy"]) == 2
    assert "choose from: train" in capsys.readouterr().err


def test_errors_of_the_user_are_one_line(capsys, monkeypatch):
    from microloftr import __main__ as commands
    from microloftr.errors import ImageError

    def fails(argv):
        raise {"user": ImageError("a.tif is\nempty."), "stop": KeyboardInterrupt(), "bug": ZeroDivisionError()}[argv[0]]

    monkeypatch.setattr(commands, "import_module", lambda name: type("Module", (), {"main": staticmethod(fails)}))
    assert commands.main(["train", "user"]) == 2
    assert capsys.readouterr() == ("", "error: a.tif is empty.\n")
    assert commands.main(["train", "stop"]) == 130
    assert capsys.readouterr() == ("", "")
    with pytest.raises(ZeroDivisionError):
        commands.main(["train", "bug"])


def test_a_reader_that_goes_away_is_no_error():
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = subprocess.run([sys.executable, "-m", "microloftr"], stdout=write_end, stderr=subprocess.PIPE, text=True)
    os.close(write_end)
    assert done.stderr == "" and done.returncode == 1


def test_public_names_are_lazy_and_complete():
    import microloftr

    code = "import sys, microloftr; print({'torch', 'numpy', 'cv2'} & set(sys.modules))"
    assert run(sys.executable, "-c", code).stdout == "set()\n"
    assert all(callable(getattr(microloftr, name)) for name in microloftr.__all__)
    with pytest.raises(AttributeError, match="it offers Matcher"):
        _ = microloftr.match


# --- tests/conftest.py


def test_tests_have_no_network():
    with pytest.raises(RuntimeError, match=r"tried to reach 192\.0\.2\.1"):
        socket.create_connection(("192.0.2.1", 80), timeout=1)


def test_a_run_of_tests_leaves_its_record(tmp_path):
    run(sys.executable, "-m", "pytest", "tests/test_skeleton.py", "-k", "network", "--record", f"{tmp_path}/long.json")
    record = json.loads((tmp_path / "long.json").read_text(encoding="utf-8"))
    assert (record["values"]["passed"], record["values"]["failed"]) == (1, 0)
    assert "test_tests_have_no_network" in record["values"]["slowest"][0]["test"]
