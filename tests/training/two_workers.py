"""Two workers, each a process of its own, go through what a run of several machines meets; prints what came as JSON.

``python -m tests.training.two_workers FOLDER usual`` (or ``more``) with TF_CONFIG set; the cases run one after the
other, because to start TensorFlow twice takes longer than any of them.
"""

import json
import os
import signal
import sys
from pathlib import Path

import keras
import numpy as np

import kzoo
from kzoo.data.examples import Examples
from kzoo.errors import UserError
from kzoo.training.interrupt import Interrupted
from kzoo.training.run import fit
from kzoo.training.strategy import choose, describe
from kzoo.training.team import Team
from tests import tiny
from tests.training.letter_tasks import LetterTask, words
from tests.training.pretraining_run import documents


def letters(**kind):
    """A task on letters, and words of which the last batch has 2 of 8 rows: the second replica has none of them."""
    return LetterTask(**kind), words(42), words(13, seed=1)


def causal_letters():
    """Predicts letters, which gives the replicas unequal numbers of targets."""
    return letters(predicts_letters=True)


def masked_language_model():
    """A real one: masked anew in each epoch, the same on every number of devices."""
    task = kzoo.FillMask(tiny.bert(num_layers=1, attention_dropout=0.0), max_length=32)
    return task, {"text": [text[: 9 * number + 20] for number, text in enumerate(documents(11))]}, None


def documents_language_model():
    """A real one on documents packed into rows."""
    task = kzoo.Generate(tiny.gpt2(num_layers=1, attention_dropout=0.0), max_length=32)
    return task, {"text": [text[: 9 * number + 20] for number, text in enumerate(documents(11))]}, None


# By name: what makes the task and its examples, and settings. Each must give the losses and weights of one device.
USUAL = {"classification": (letters, {}), "causal_language_model": (causal_letters, {})}
MORE = {
    "accumulated": (causal_letters, {"accumulate": 2}),
    "compiled": (causal_letters, {"jit": True}),
    "masked_language_model": (masked_language_model, {"learning_rate": 1e-3}),
    "documents_language_model": (documents_language_model, {"learning_rate": 1e-3}),
}
CASES = USUAL | MORE
BUCKETS = (4, 8)  # and 12, the letters' longest: so that their batches have three lengths
SETTINGS = dict(epochs=2, batch_size=8, learning_rate=0.01, clip_norm=0.5, logging={"progress": "none"})


def trained(case, **settings):
    """One case; ``settings`` count before its own."""
    make, own = CASES[case]
    task, train, validation = make()
    run = fit(task, train, validation, say=lambda text: None, **{**SETTINGS, **own, **settings})
    return described(task, run)


def described(task, run):
    return {
        "history": [untimed(one) for one in run.history],
        "metrics": untimed(run.metrics),
        "weights": {
            weight.path: np.asarray(weight).ravel().tolist()
            for weight in task.model.weights
            if "seed" not in weight.path
        },
    }


def untimed(values):
    return {name: value for name, value in values.items() if name not in ("seconds", "input_wait")}


def mistake(action):
    try:
        action()
    except UserError as error:
        return str(error)


class KillWorkerOne(keras.callbacks.Callback):
    """Sends worker 1 SIGTERM after a step, as at a preemption."""

    def __init__(self, team, step):
        super().__init__()
        self.team, self.step = team, step

    def on_train_batch_end(self, batch, logs=None):
        if self.team.index == 1 and self.model.counts["step"] == self.step:
            os.kill(os.getpid(), signal.SIGTERM)


class Traces(LetterTask):
    """Counts how often its model is traced for training."""

    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.shapes = []
        hidden = self.model.get_layer("hidden")
        call = hidden.call
        hidden.call = lambda x, **given: (self.shapes.append(str(x.shape)), call(x, **given))[1]

    def rebuild(self):
        task = type(self)(**self.arguments)
        task.model.set_weights(self.model.get_weights())
        Traces.last = task
        task.shapes.clear()
        return task


def own_rows(team):
    """Worker 0 brings 101 examples of its own, worker 1 brings 98."""
    task = LetterTask(predicts_letters=True)
    mine = words(101 if team.is_chief else 98, seed=team.index)
    run = fit(task, mine, words(9 - team.index), own_rows=True, say=lambda text: None, **SETTINGS | {"epochs": 1})
    return described(task, run)


def interrupted(team, folder):
    """A run that nothing stopped, one that SIGTERM to worker 1 stopped, and what it came to when it went on."""
    said, ends = [], []
    settings = dict(checkpoint_every=5, deterministic=True, **SETTINGS)
    for name, callbacks in (("straight", []), ("stopped", [KillWorkerOne(team, 7)]), ("stopped", [])):
        task = LetterTask(predicts_letters=True, dropout=0.3)
        try:
            fit(task, words(42), run_folder=folder / name, callbacks=callbacks, say=said.append, **settings)
        except Interrupted as stop:
            ends.append([stop.message, stop.exit_code])
        else:
            ends.append([np.asarray(weight).ravel().tolist() for weight in task.model.trainable_weights])
    return {"said": said, "ends": ends}


BEST = SETTINGS | {"learning_rate": 0.3, "schedule": "constant", "validate_every": 2, "ema": 0.5}


def best(folder, **settings):
    """A run whose validation goes up and down, and ends with the best of its weights."""
    task, train, validation = letters()
    settings = {**BEST, "best": "val_loss", "result": "best"} | settings
    run = fit(task, train, validation, run_folder=folder, say=lambda text: None, **settings)
    return described(task, run)


def usual(team, folder):
    strategy = team.strategy
    elsewhere = folder / ("shared" if team.is_chief else "not-shared")
    several = {"described": describe(strategy), "gathered": team.gather({"place": "ä" * (3 + 50 * team.index)})}
    several["differing_config"] = mistake(lambda: trained("classification", batch_size=8 + 8 * team.index))
    several["differing_data"] = mistake(
        lambda: fit(LetterTask(), words(20 + team.index), say=lambda text: None, **SETTINGS)
    )
    several["differing_validation"] = mistake(
        lambda: fit(LetterTask(), words(20), words(5, seed=team.index), say=lambda text: None, **SETTINGS)
    )
    several["not_divisible"] = mistake(lambda: trained("classification", batch_size=7))
    several["not_shared"] = mistake(lambda: trained("classification", run_folder=elsewhere))
    several["failing_alone"] = mistake(
        lambda: team.together(lambda: Examples({"text": ["a"], "label": [0, 1][: 1 + team.index]}))
    )
    several["own_rows"] = own_rows(team)
    several["best"] = best(folder / "best")
    return several | {case: trained(case) for case in USUAL}


def more(team, folder):
    several = {case: trained(case) for case in MORE}
    fit(Traces(), words(42), say=lambda text: None, **SETTINGS)
    several["traces"] = Traces.last.shapes
    several["interrupted"] = interrupted(team, folder)
    return several


if __name__ == "__main__":
    import kzoo.data.plan
    import kzoo.training.team

    kzoo.data.plan.BUCKETS = BUCKETS
    kzoo.training.team.SECONDS_TO_SEE = 1
    part = {"usual": usual, "more": more}[sys.argv[2]]
    print("RESULTS" + json.dumps(part(Team(choose("auto")), Path(sys.argv[1]))))
