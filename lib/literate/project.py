"""Where things lie: the folder that holds notebooks/, docs_obsidian/, results/ and README.md."""

from dataclasses import dataclass
from pathlib import Path

from literate.errors import LiterateError


@dataclass(frozen=True)
class Project:
    """The rooms that the machinery works in, all below `root`."""

    root: Path

    @property
    def notebooks(self) -> Path:
        return self.root / "notebooks"

    @property
    def vault(self) -> Path:
        return self.root / "docs_obsidian"

    @property
    def attachments(self) -> Path:
        return self.vault / "attachments"

    @property
    def results(self) -> Path:
        return self.root / "results"

    @property
    def questions(self) -> Path:
        return self.results / "questions"

    @property
    def readme(self) -> Path:
        return self.root / "README.md"

    def short(self, path: Path) -> str:
        """`path` as a reader of the project writes it: relative to the root where it lies below it."""
        path = Path(path)
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else str(path)


def find_project(root: str | Path | None = None) -> Project:
    """The project at `root`; without it, the clone that this package belongs to, else one around the working folder.

    Raises LiterateError when there is no folder `notebooks` to work on.
    """
    if root is not None:
        candidates = [Path(root).resolve()]
    else:
        candidates = [Path(__file__).resolve().parents[2], Path.cwd(), *Path.cwd().parents]
    for candidate in candidates:
        if (candidate / "notebooks").is_dir():
            return Project(candidate)
    where = f"in {candidates[0]}" if root is not None else "around this folder"
    raise LiterateError(f"There is no folder notebooks {where}; run the command in a clone of the project.")
