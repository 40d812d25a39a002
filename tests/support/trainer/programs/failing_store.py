"""What test_torchrun.py has torchrun start on every rank: the trainer; rank 1's images go after two steps."""

import itertools
import os
import sys

from bt_kernels.trainer.cli import main
from bt_kernels.trainer.data import loader
from bt_kernels.trainer.data.decoding import UnreadableImage

views_of = loader.views_of
GOOD_STEPS = 2


def failing(calls=itertools.count(1)):  # noqa: B008  one count for all calls
    """views_of, of a store that fails when so many batches have been read."""

    def until_it_fails(samples, two_views):
        if next(calls) <= GOOD_STEPS:
            return views_of(samples, two_views)

        def gone(name):
            raise UnreadableImage(name, "Stale file handle")

        return views_of(
            [loader.Sample(sample.name, sample.key, lambda name=sample.name: gone(name)) for sample in samples],
            two_views,
        )

    return until_it_fails


if __name__ == "__main__":
    if os.environ["RANK"] == "1":
        loader.views_of = failing()
    sys.exit(main())
