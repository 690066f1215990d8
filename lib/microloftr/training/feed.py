"""Pairs for every step: their few numbers are drawn ahead on CPU threads, their images made on the device."""

import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from microloftr.config.plain import Config
from microloftr.data.atlas import Atlas
from microloftr.data.pairs import PairBatch, PairParameters, draw_parameters, make_pairs, render


def indices_of(step: int, batch: int) -> np.ndarray:
    """Numbers of a step's pairs: batch·step … batch·(step + 1) − 1, so that pairs follow from seed and step alone."""
    return np.arange(step * batch, (step + 1) * batch)


def batch_of(config: Config, atlas: Atlas, step: int) -> PairBatch:
    """The pairs of a step: they follow from configuration, micrographs and the step's number, and nothing else."""
    data = config.data
    return make_pairs(atlas, data.mixture, config.train.seed, indices_of(step, data.batch), data.crop)


class Feed:
    """Iterates over the batches of steps `first` … `last` − 1. `waited`: seconds spent waiting for drawn numbers.

    Drawing needs no device and leaves the interpreter lock for most of its time, so a few threads keep a GPU fed.
    """

    def __init__(self, atlas: Atlas, config: Config, first: int, last: int, ahead: int = 4) -> None:
        self.atlas, self.config, self.first, self.last, self.ahead = atlas, config, first, last, ahead
        self.workers = 4 if atlas.values.is_cuda else 1
        self.waited = 0.0

    def draw(self, step: int) -> PairParameters:
        """The numbers of a step's pairs."""
        data = self.config.data
        return draw_parameters(
            self.atlas, data.mixture, self.config.train.seed, indices_of(step, data.batch), data.crop
        )

    def make(self, step: int, parameters: PairParameters) -> PairBatch:
        """A step's images from their numbers, on the device."""
        data = self.config.data
        return render(self.atlas, parameters, self.config.train.seed, indices_of(step, data.batch), data.crop)

    def __iter__(self) -> Iterator[PairBatch]:
        with ThreadPoolExecutor(self.workers) as pool:
            waiting: deque[Future[PairParameters]] = deque()
            following = self.first
            try:
                for step in range(self.first, self.last):
                    while following < self.last and len(waiting) < self.ahead:
                        waiting.append(pool.submit(self.draw, following))
                        following += 1
                    began = time.perf_counter()
                    parameters = waiting.popleft().result()
                    self.waited += time.perf_counter() - began
                    yield self.make(step, parameters)
            finally:
                for future in waiting:
                    future.cancel()
