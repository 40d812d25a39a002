"""Interrupts a run in this process at a step."""

import signal

from bt_kernels.trainer.training.pretraining import Pretraining


def stop_after(step, monkeypatch):
    train_step = Pretraining.train_step

    def interrupted(state, views):
        if state.step + 1 == step:
            signal.raise_signal(signal.SIGINT)
        return train_step(state, views)

    monkeypatch.setattr(Pretraining, "train_step", interrupted)
