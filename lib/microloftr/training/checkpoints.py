"""Checkpoints of Lightning that are whole or not there."""

import os
from pathlib import Path
from typing import Any

from lightning.pytorch.plugins.io import TorchCheckpointIO

from microloftr.errors import WeightsError
from microloftr.training.packed import load_tensors, save_tensors

BEST, LAST = "best.ckpt", "last.ckpt"


class AtomicCheckpointIO(TorchCheckpointIO):
    """Written beside, flushed to disk, renamed. (Lightning's own copies where its temporary folder is elsewhere.)"""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | os.PathLike, storage_options: Any = None) -> None:
        """Save `checkpoint` at `path`; a crash or a full disk leaves the previous file. Raises WeightsError."""
        save_tensors(checkpoint, Path(path))

    def load_checkpoint(
        self, path: str | os.PathLike, map_location: Any = "cpu", weights_only: bool | None = True
    ) -> dict[str, Any]:
        """Load `path`; nothing but tensors and plain values is unpickled. Raises WeightsError where it is damaged."""
        try:
            return load_tensors(Path(path))
        except WeightsError as error:
            raise WeightsError(f"{error}; delete it to start anew") from error
