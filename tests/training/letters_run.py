"""A small run in a process of its own: ``letters_run.py FOLDER [SIGNAL STEP]`` sends itself a signal after a step."""

import os
import signal
import sys

import keras
from tests.training.letter_tasks import LetterTask, words

from kzoo.training.interrupt import Interrupted
from kzoo.training.run import fit


class SignalAfter(keras.callbacks.Callback):
    """Sends this process a signal once so many steps of the run are done."""

    def __init__(self, name, step):
        super().__init__()
        self.signal, self.step = signal.Signals[name], int(step)

    def on_train_batch_end(self, batch, logs=None):
        if self.model.counts["step"] == self.step:
            os.kill(os.getpid(), self.signal)


def main(folder, *interruption):
    try:
        fit(
            LetterTask(predicts_letters=True, dropout=0.3),
            words(),
            words(20, seed=1),
            run_folder=folder,
            epochs=2,
            batch_size=8,
            learning_rate=0.01,
            checkpoint_every=5,
            deterministic=True,
            callbacks=[SignalAfter(*interruption)] if interruption else [],
            logging={"progress": "none"},
        )
    except Interrupted as stop:
        print(stop.message)
        sys.exit(stop.exit_code)


if __name__ == "__main__":
    main(*sys.argv[1:])
