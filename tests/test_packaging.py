"""One source of dependencies, a full freeze of it, the order of imports, sizes, and no trace of anybody's machine."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
MIB = 2**20
NEEDED_UNIMPORTED = {"ipykernel", "jupyterlab", "tensorboardx"}  # what notebooks run and open in; Lightning's logs
IMPORT_NAMES = {
    "hydra-core": "hydra",
    "ipython": "IPython",
    "jupyter-client": "jupyter_client",
    "opencv-python-headless": "cv2",
    "tensorboardx": "tensorboardX",
    "pillow": "PIL",
    "pyyaml": "yaml",
    "scikit-image": "skimage",
}
MACHINE_PATH = re.compile(r"(?<![\w.~/-])/(?:home|Users|root|tmp|work|mnt|scratch|data|opt)/\w[^\s\"'`)]*")


def run(*command: str, cwd: Path = ROOT, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, text=True, capture_output=True, **options)


def project_files() -> list[Path]:
    """What a clone holds: tracked files, and new ones that git does not ignore."""
    listed = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").stdout
    files = {ROOT / name for name in listed.split("\0") if name}
    return sorted(path for path in files if path.is_file())


@pytest.fixture(scope="module")
def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def pins() -> dict[str, str]:
    """name: version of constraints.txt, of the lines that hold on this system."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    requirements = [Requirement(line) for line in lines if not line.startswith("#")]
    assert all(re.fullmatch(r"==[\w.]+", str(requirement.specifier)) for requirement in requirements)
    return {
        canonicalize_name(requirement.name): str(requirement.specifier).removeprefix("==")
        for requirement in requirements
        if requirement.marker is None or requirement.marker.evaluate()
    }


def closure(requirements: Iterable[str]) -> set[str]:
    """Names of the installed distributions that the requirements need, to the last; NVIDIA's libraries left out."""
    names, waiting = set(), [(Requirement(text), "") for text in requirements]
    while waiting:
        requirement, extra = waiting.pop()
        name = canonicalize_name(requirement.name)
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        if re.match(r"(nvidia|cuda)-|triton$", name) or (name in names and not requirement.extras):
            continue
        names.add(name)
        try:
            needs = metadata.requires(name) or []
        except metadata.PackageNotFoundError:  # an optional peer that is not installed
            continue
        waiting += [(Requirement(need), extra) for need in needs for extra in ("", *requirement.extras)]
    return names


def imported(folders: Iterable[str]) -> set[str]:
    """Top-level names of the modules that Python files in these folders import."""
    names = set()
    for path in (path for folder in folders for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names.add(node.module.split(".")[0])
    return names - set(sys.stdlib_module_names) - {"__future__", "microloftr", "literate"}


def test_constraints_freeze_all_dependencies(project, pins):
    extras = project["optional-dependencies"]
    needed = closure([*project["dependencies"], *extras["dev"], *extras["peers"]])
    assert len(needed) > 100 and needed - set(pins) == set()
    for text in [*project["dependencies"], *extras["dev"], *extras["peers"]]:
        requirement = Requirement(text)
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), text


def test_installed_versions_are_the_frozen_ones(pins):
    installed = {canonicalize_name(found.name): found.version.split("+")[0] for found in metadata.distributions()}
    assert {name: (installed[name], pin) for name, pin in pins.items() if installed.get(name, pin) != pin} == {}


def test_dependencies_are_what_is_imported(project):
    listed = {Requirement(text).name for text in project["dependencies"]}
    used = {IMPORT_NAMES.get(name, name) for name in listed - NEEDED_UNIMPORTED}
    assert imported(["lib", "notebooks"]) == used
    dev = {Requirement(text).name for text in project["optional-dependencies"]["dev"]}
    own = {"tests", *(path.stem for path in (ROOT / "tests").glob("*.py"))}
    runtime = {IMPORT_NAMES.get(name, name) for name in listed}
    assert imported(["tests"]) - runtime - dev - own == set()


NOW = f"{sys.version_info.major}.{sys.version_info.minor}"
OTHERS = sorted({"3.11", "3.12", "3.13", "3.14"} - {NOW})


@pytest.mark.parametrize("version", [NOW, *(pytest.param(other, marks=pytest.mark.long) for other in OTHERS)])
def test_environment_file_resolves(project, version):
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    python, pip, pip_part = environment["dependencies"]
    assert python == f"python{project['requires-python']},<3.15" and pip == "pip"
    assert resolve(pip_part["pip"], version).returncode == 0
    assert "unsatisfiable" in resolve([*pip_part["pip"], "numpy<2"], version).stderr


def resolve(pip_lines: list[str], version: str) -> subprocess.CompletedProcess[str]:
    """What the lines of environment.yml come to, from nothing, on a Python of that version with wheels alone."""
    text = "\n".join(line.replace("-c constraints.txt", f"-c {ROOT / 'constraints.txt'}") for line in pip_lines)
    options = f"--quiet --python-version {version} --only-binary :all: --no-binary antlr4-python3-runtime -"
    return run(sys.executable, "-m", "uv", "pip", "compile", *options.split(), input=text)


def lint_imports(root: Path) -> subprocess.CompletedProcess[str]:
    tool = Path(sys.executable).with_name("lint-imports")
    environment = {**os.environ, "PYTHONPATH": str(root / "lib")}
    return run(str(tool), "--no-logo", "--no-cache", cwd=root, env=environment)


def test_imports_keep_to_the_line(tmp_path):
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout
    ignore = shutil.ignore_patterns("*.jp2", "*.safetensors", "__pycache__")
    shutil.copytree(ROOT / "lib", tmp_path / "lib", ignore=ignore)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    faults = {"data/pairs": "import kornia", "geometry": "import microloftr.data.pairs", "files": "import literate"}
    for module, line in faults.items():
        path = tmp_path / f"lib/microloftr/{module}.py"
        path.write_text(path.read_text(encoding="utf-8") + f"\n{line}\n", encoding="utf-8")
    reported = " ".join(lint_imports(tmp_path).stdout.split())
    arrows = ["data.pairs -> kornia", "geometry -> microloftr.data.pairs", "files -> literate"]
    assert [arrow for arrow in arrows if f"microloftr.{arrow} (l." not in reported] == []


def test_style():
    done = run(sys.executable, "-m", "ruff", "check", "--no-cache", ".")
    assert done.returncode == 0, done.stdout
    planted = run(sys.executable, "-m", "ruff", "check", "--no-cache", "-", input="import os\n")
    assert planted.returncode == 1 and "F401" in planted.stdout


def test_no_file_names_a_place_on_a_machine():
    found = {}
    for path in project_files():
        data = path.read_bytes()
        if b"\0" not in data[:8000] and (hits := MACHINE_PATH.findall(data.decode(errors="replace"))):
            found[path.relative_to(ROOT).as_posix()] = hits
    assert found == {}
    planted = ["see /" + "home/ann/a.tif", '"/' + 'tmp/x"', "https://a.b/home/c", "../shared/data/x", "runs/tmp/x"]
    assert [bool(MACHINE_PATH.search(text)) for text in planted] == [True, True, False, False, False]


def over_budget(sizes: dict[str, int], budgets: dict[str, float]) -> dict[str, float]:
    """Folders (prefixes of names) whose files weigh more than their budget, both in MiB."""
    totals = {folder: sum(size for name, size in sizes.items() if name.startswith(folder)) / MIB for folder in budgets}
    return {folder: total for folder, total in totals.items() if total > budgets[folder]}


def test_sizes_keep_to_the_budgets():
    budgets = {
        "": 55,
        "docs_obsidian/attachments/": 8,
        "lib/microloftr/micrographs/": 20,
        "lib/microloftr/weights/": 12,
        "notebooks/": 15,
        "results/": 2,
    }
    sizes = {path.relative_to(ROOT).as_posix(): path.stat().st_size for path in project_files()}
    assert len(sizes) > 100 and over_budget(sizes, budgets) == {}
    assert over_budget({"results/a": MIB, "results/b": MIB + 1}, budgets).keys() == {"results/"}


def test_citation_is_complete(project):
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors", "version", "license"} <= citation.keys()
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])
    people = [person for work in [citation, *citation["references"]] for person in work["authors"]]
    assert all({"name"} == person.keys() or {"family-names", "given-names"} == person.keys() for person in people)


def test_packages_carry_their_data():
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    patterns = tools["setuptools"]["package-data"]["*"]
    names = [path for path in project_files() if path.is_relative_to(ROOT / "lib") and path.suffix != ".py"]
    assert [path.name for path in names if not any(path.match(pattern) for pattern in patterns)] == []
    assert (ROOT / "lib/microloftr/py.typed") in names
