"""Checkpoints that are whole or not there, and weights as they are shipped."""

import os
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from microloftr.errors import WeightsError
from microloftr.files import atomic_write


class AtomicCheckpointIO(TorchCheckpointIO):
    """Written beside, flushed to disk, renamed. (Lightning's own copies where its temporary folder is elsewhere.)"""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | os.PathLike, storage_options: Any = None) -> None:
        """Save `checkpoint` at `path`; a crash or a full disk leaves the previous file as it was."""
        with atomic_write(path) as temporary:
            torch.save(checkpoint, temporary)

    def load_checkpoint(
        self, path: str | os.PathLike, map_location: Any = "cpu", weights_only: bool | None = True
    ) -> dict[str, Any]:
        """Load `path`; nothing but tensors and plain values is unpickled. Raises WeightsError where it is damaged."""
        if not Path(path).is_file():
            raise WeightsError(f"there is no checkpoint {path}")
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            raise WeightsError(
                f"the checkpoint {path} cannot be read ({error.__class__.__name__}); delete it to start anew"
            ) from error
