"""A run that was stopped in the middle of an epoch ends with the weights of one that never was."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from kzoo.data.batching import Batches
from kzoo.data.examples import Examples
from kzoo.errors import UserError
from kzoo.training.interrupt import Interrupted, StopRequest
from kzoo.training.run import fit
from tests.training.letter_tasks import LetterTask, words

ROOT = Path(__file__).parents[2]


def runs(*arguments, code=0):
    process = subprocess.run(
        [sys.executable, "-m", "tests.training.letters_run", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert process.returncode == code, process.stderr
    return process.stdout


def weights(folder):
    stored = np.load(folder / "model" / "weights.npz")
    return [stored[name] for name in stored.files]


def untimed(folder):
    return [
        {name: value for name, value in one.items() if name not in ("seconds", "input_wait")}
        for one in json.loads((folder / "history.json").read_text())
    ]


def assert_same_bits(folder, straight):
    for resumed, expected in zip(weights(folder), weights(straight), strict=True):
        np.testing.assert_array_equal(resumed, expected)
    assert untimed(folder) == untimed(straight)  # the epoch's means are of the whole epoch


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """Folders of a run that nothing stopped and of one that Ctrl-C did, and what was said."""
    straight, stopped = tmp_path_factory.mktemp("straight"), tmp_path_factory.mktemp("stopped")
    return straight, stopped, runs(straight, ",", stopped, "SIGINT", 27, code=130)


def test_after_ctrl_c_the_same_command_ends_with_the_same_bits(stopped):
    straight, folder, said = stopped
    assert "Stopped by SIGINT after epoch 2, step 8 (27 in all)" in said
    assert f"Saved {folder}/checkpoints/step-00000027. The same command goes on from there." in said
    assert not (folder / "model").exists() and not (folder / "metrics.json").exists()
    assert "Going on from epoch 2, step 8 (27 of 38 steps)." in runs(folder)
    assert_same_bits(folder, straight)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "code"), [("SIGKILL", -9), ("SIGTERM", 143)])
def test_after_a_kill_the_same_command_ends_with_the_same_bits(tmp_path, stopped, name, code):
    runs(tmp_path, name, 13, code=code)
    assert f"Going on from epoch 1, step {10 if name == 'SIGKILL' else 13} " in runs(tmp_path)
    assert_same_bits(tmp_path, stopped[0])


def test_a_complete_run_is_left_as_it_is_and_fills_the_task(tmp_path, monkeypatch):
    def load_task(directory):
        task = LetterTask(seed=8)
        task.model.set_weights(weights(directory.parent))
        return task

    monkeypatch.setattr("kzoo.training.outcome.load_task", load_task)
    settings = dict(run_folder=tmp_path, batch_size=16, logging={"progress": "none"})
    first = fit(LetterTask(), words(), say=lambda text: None, **settings)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    said = []
    task = LetterTask()
    again = fit(task, words(), say=said.append, **settings)
    assert said == [f"{tmp_path} holds this run already, complete. Remove it to train anew."]
    assert (again.history, again.metrics, again.folder) == (first.history, first.metrics, first.folder)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    for weight, expected in zip(task.model.get_weights(), weights(tmp_path), strict=True):
        np.testing.assert_array_equal(weight, expected)


def test_without_a_folder_ctrl_c_says_that_nothing_was_saved():
    from tests.training.letters_run import SignalAfter

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted) as raised:
        fit(
            LetterTask(),
            words(),
            logging={"progress": "none"},
            callbacks=[SignalAfter("SIGINT", 2)],
            say=lambda text: None,
        )
    assert isinstance(raised.value, KeyboardInterrupt) and raised.value.exit_code == 130
    assert "after epoch 1, step 2 (2 in all). Nothing was saved" in raised.value.message
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_ctrl_c_stops_at_once(capsys):
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.signal == signal.SIGTERM and stop.exit_code == 143
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            signal.sigtimedwait([], 0)
    assert "SIGTERM: saving after this step" in capsys.readouterr().err


def test_outside_the_main_thread_signals_stay_as_they_are():
    entered = []

    def work():
        with StopRequest() as stop:
            entered.append(stop.signal)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert entered == [None]


def test_a_loss_that_is_not_a_number_stops_and_keeps_the_last_good_checkpoint(tmp_path):
    task = LetterTask()
    settings = dict(run_folder=tmp_path, epochs=3, batch_size=16, checkpoint_every=4, say=lambda text: None)
    settings["logging"] = {"progress": "none"}

    class Spoil(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if self.model.counts["step"] == 6:
                task.model.get_layer("head").bias.assign([np.nan, 0.0])

    with pytest.raises(UserError) as raised:
        fit(task, words(), callbacks=[Spoil()], **settings)
    assert "not a number at step 7. That was step 7 of epoch 1; its batch held the examples in the rows " in str(
        raised.value
    )
    assert f"The last good checkpoint is {tmp_path}/checkpoints/step-00000004." in str(raised.value)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000004"]
    assert not (tmp_path / "model").exists()
    found = json.loads((tmp_path / "bad_batch.json").read_text())
    assert (found["step"], found["epoch"], found["step_of_epoch"]) == (7, 1, 7)
    plan = Batches(LetterTask(), words(), batch_size=16, training=True).plan(0)
    expected = [{"row": int(row) + 1, "text": words()["text"][row]} for row in plan.rows[6][: plan.counts[6]]]
    assert found["examples"] == expected
    assert fit(LetterTask(), words(), **settings).metrics["steps"] == 30
    assert not (tmp_path / "bad_batch.json").exists()


def test_without_a_folder_the_rows_of_a_bad_batch_are_said():
    task = LetterTask()
    task.model.get_layer("head").bias.assign([np.nan, 0.0])
    with pytest.raises(UserError, match=r"not a number at step 1\. .* rows (\d+, ){7}\d+ and 8 more\. There is no"):
        fit(task, words(160), batch_size=16, say=lambda text: None, logging={"progress": "none"})


def test_a_full_disk_stops_the_run_which_goes_on_once_there_is_space(tmp_path, monkeypatch):
    settings = dict(run_folder=tmp_path, batch_size=16, checkpoint_every=4, say=lambda text: None)
    settings["logging"] = {"progress": "none"}
    rename = os.rename

    def full(source, target):
        if str(target).endswith("step-00000008"):
            raise OSError(28, "No space left on device")
        rename(source, target)

    monkeypatch.setattr("os.rename", full)
    with pytest.raises(UserError, match="disk is full: .*step-00000008.* .*step-00000004 stays.* same command again"):
        fit(LetterTask(), words(), **settings)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000004"]
    monkeypatch.undo()
    said = []
    fit(LetterTask(), words(), **settings | {"say": said.append})
    assert "Going on from epoch 1, step 4 (4 of 10 steps)." in said


def test_stopped_after_the_last_step_of_an_epoch_it_goes_on_with_the_epochs_end(tmp_path):
    from tests.training.letters_run import SignalAfter
    from tests.training.test_tensorboard import read

    settings = dict(epochs=2, batch_size=16, validate_every=5, say=lambda text: None, logging={"progress": "none"})
    straight = fit(LetterTask(), words(), words(20, seed=1), run_folder=tmp_path / "straight", **settings)
    folder = tmp_path / "stopped"
    with pytest.raises(Interrupted, match="after epoch 1, step 10"):
        fit(
            LetterTask(),
            words(),
            words(20, seed=1),
            run_folder=folder,
            callbacks=[SignalAfter("SIGTERM", 10)],
            **settings,
        )
    assert not (folder / "history.json").exists()
    again = fit(LetterTask(), words(), words(20, seed=1), run_folder=folder, **settings)
    assert [one["step"] for one in again.history] == [10, 20]
    for one, expected in zip(again.history, straight.history, strict=True):
        assert one["loss"] == pytest.approx(expected["loss"], rel=1e-6)
        assert one["val_loss"] == pytest.approx(expected["val_loss"], rel=1e-6)
    assert list(read(folder / "tensorboard" / "validation")[0]["loss"]) == [5, 10, 15, 20]


def test_what_precedes_is_not_read_again(tmp_path):
    from tests.training.letters_run import SignalAfter

    made = []

    class Counting(LetterTask):
        def pack(self, tokens, length):
            features = super().pack(tokens, length)
            with tf.control_dependencies([tf.py_function(lambda rows: made.append(int(rows)), [length], [])]):
                return tf.nest.map_structure(tf.identity, features)

    settings = dict(run_folder=tmp_path, epochs=1, batch_size=10, say=lambda text: None, logging={"progress": "none"})
    with pytest.raises(Interrupted):
        fit(Counting(), words(), callbacks=[SignalAfter("SIGINT", 12)], **settings)
    made.clear()
    fit(Counting(), words(), **settings)
    assert len(made) == 3  # of 15


def test_other_data_than_the_checkpoint_saw_is_refused(tmp_path):
    settings = dict(run_folder=tmp_path, epochs=2, batch_size=16, say=lambda text: None, logging={"progress": "none"})
    from tests.training.letters_run import SignalAfter

    with pytest.raises(Interrupted):
        fit(LetterTask(), words(), callbacks=[SignalAfter("SIGINT", 3)], **settings)
    with pytest.raises(UserError, match="The data changed: .* was made with steps of an epoch 10, now it is 11"):
        fit(LetterTask(), words(165), **settings)
    other = Examples({"text": [*words()["text"][:-1], "a"]})
    with pytest.raises(UserError, match="The data changed: .* was made with content of the examples .*, now it is"):
        fit(LetterTask(), other, **settings)


def test_texts_that_give_no_batch_or_nothing_to_learn_are_refused():
    class Empty(LetterTask):
        def tokenize(self, inputs):
            tokens = super().tokenize(inputs)
            return tokens | {"token_ids": tokens["token_ids"][:, :0]}

    class Spaces(LetterTask):  # as classifiers do, it makes rows of special tokens
        def tokenize(self, inputs):
            return super().tokenize({"text": tf.strings.join(["a", tf.strings.strip(inputs["text"])])})

    settings = dict(say=lambda text: None, logging={"progress": "none"})
    with pytest.raises(UserError, match="No batch can be made of the examples: .* no word in any of its 3 examples"):
        fit(Empty(), Examples({"text": ["a", "b", "c"]}), **settings)
    with pytest.raises(UserError, match="No batch can be made"):
        fit(Spaces(), Examples({"text": [" ", "\n"]}), **settings)
    with pytest.raises(UserError, match="nothing to learn from .* none of its 2 examples .* Are the texts too short"):
        fit(LetterTask(predicts_letters=True), Examples({"text": ["a", "b"]}), **settings)
