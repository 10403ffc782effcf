"""Small runs in a process of their own: ``letters_run FOLDER [SIGNAL STEP] , ...``, one after the other.

A run with a signal sends it to itself after a step; the process ends as Interrupted says.
"""

import os
import signal
import sys

import keras

from kzoo.training.interrupt import Interrupted
from kzoo.training.run import fit
from tests.training.letter_tasks import LetterTask, words


class SignalAfter(keras.callbacks.Callback):
    """Sends this process a signal once so many steps of the run are done."""

    def __init__(self, name, step):
        super().__init__()
        self.signal, self.step = signal.Signals[name], int(step)

    def on_train_batch_end(self, batch, logs=None):
        if self.model.counts["step"] == self.step:
            os.kill(os.getpid(), self.signal)


def run(folder, *interruption):
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


if __name__ == "__main__":
    try:
        for one in " ".join(sys.argv[1:]).split(","):
            run(*one.split())
    except Interrupted as stop:
        print(stop.message)
        sys.exit(stop.exit_code)
