import collections

import keras
import numpy as np
import pytest
import tensorflow as tf

from kzoo.data.batching import Batches
from kzoo.training.interrupt import Interrupted
from kzoo.training.optimizer import adamw
from kzoo.training.progress import Advance, Progress
from kzoo.training.run import fit
from kzoo.training.schedule import WarmupSchedule
from kzoo.training.step import TrainingModel
from kzoo.training.watching.curves import Curves
from tests.training.letter_tasks import LetterTask, words
from tests.training.letters_run import SignalAfter


def read(folder):
    """Tag to {step: value} of all event files of a folder, and the graphs."""
    values, graphs = collections.defaultdict(dict), []
    for path in sorted(folder.glob("events.out.tfevents.*.v2")):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            if event.graph_def:
                graphs.append(tf.compat.v1.GraphDef.FromString(event.graph_def))
            for value in event.summary.value:
                array = tf.make_ndarray(value.tensor)
                values[value.tag][event.step] = array.item() if array.ndim == 0 else array.tolist()
    return values, graphs


def run(folder, task=None, *, logging=None, **arguments):
    settings = dict(run_folder=folder, epochs=2, batch_size=16, learning_rate=0.02, say=lambda text: None)
    settings["logging"] = {"progress": "none", "every": 4} | (logging or {})
    return fit(task or LetterTask(), words(), words(41, seed=1), **settings | arguments)


def test_train_and_validation_curves(tmp_path):
    result = run(tmp_path, schedule="linear", warmup=4)
    train, _ = read(result.tensorboard / "train")
    validation, _ = read(result.tensorboard / "validation")
    assert {
        "loss", "accuracy", "learning_rate", "gradient_norm", "examples_per_second", "tokens_per_second", "input_wait",
        "teraflops", "teraflops_with_padding", "memory_gigabytes",
    } == set(train)  # fmt: skip
    assert set(validation) == {"loss", "accuracy"}
    for tag, points in train.items():
        assert list(points) == [4, 8, 12, 16, 20], tag
        assert all(np.isfinite(value) for value in points.values())
    schedule = WarmupSchedule(0.02, warmup_steps=4, total_steps=20)
    for step, rate in train["learning_rate"].items():
        assert rate == pytest.approx(float(schedule(step - 1)), rel=1e-5)
    assert min(train["gradient_norm"].values()) > 0
    assert list(validation["loss"]) == [10, 20]
    for epoch in result.history:
        for name in ("loss", "accuracy"):
            assert validation[name][epoch["step"]] == pytest.approx(epoch[f"val_{name}"], rel=1e-6)


def test_points_are_means_over_the_steps_since_the_one_before_and_rates_count_real_tokens(tmp_path):
    task, time, losses = LetterTask(predicts_letters=True), [0.0], []
    optimizer = adamw(task.model.trainable_variables, learning_rate=0.01)
    model = TrainingModel(task.model, loss=task.loss(), metrics=task.metrics(), optimizer=optimizer)

    class Watch(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            time[0] += 0.5
            losses.append((self.model.latest["loss"], self.model.targets_seen, self.model.counts))

    progress = Progress()
    curves = Curves(tmp_path, progress, every=3, clock=lambda: time[0])
    batches = Batches(task, words(), batch_size=16, training=True)
    model.fit(batches.dataset(), callbacks=[Watch(), Advance(progress), curves], verbose=0, shuffle=False)
    train, _ = read(tmp_path / "train")
    targets = np.diff([0, *(seen for _, seen, _ in losses)])
    for step in (3, 6, 9):
        part = slice(step - 3, step)
        mean = np.dot([loss for loss, _, _ in losses[part]], targets[part]) / targets[part].sum()
        assert train["loss"][step] == pytest.approx(mean, rel=1e-5)
        before = losses[step - 4][2]["tokens"] if step > 3 else 0
        assert train["tokens_per_second"][step] == pytest.approx((losses[step - 1][2]["tokens"] - before) / 1.5)
    real = sum(len(text) for text in words()["text"] if len(text) > 1)
    assert losses[-1][2]["tokens"] == real


def test_perplexity_samples_and_graph_of_a_language_model(tmp_path):
    logging = {"graph": True, "samples": {"prompts": ["ab", "c"], "every": 7}}
    result = run(tmp_path, LetterTask(predicts_letters=True), logging=logging)
    train, graphs = read(result.tensorboard / "train")
    validation, _ = read(result.tensorboard / "validation")
    assert validation["perplexity"][20] == pytest.approx(np.exp(validation["loss"][20]), rel=1e-5)
    assert list(train["samples"]) == [7, 10, 14, 20]
    first, second = (text.decode() for text in train["samples"][7])
    assert first == "    ab⟶\n    *\n    *\n    *" and second.startswith("    c⟶")
    names = {
        node.name
        for graph in graphs
        for node in [*graph.node, *(n for f in graph.library.function for n in f.node_def)]
    }
    assert any("hidden" in name for name in names)


def test_without_tensorboard_nothing_is_written(tmp_path):
    run(tmp_path, logging={"tensorboard": False})
    assert not (tmp_path / "tensorboard").exists()


def test_the_step_goes_on_after_an_interruption(tmp_path):
    with pytest.raises(Interrupted):
        run(tmp_path, callbacks=[SignalAfter("SIGINT", 9)])
    result = run(tmp_path)
    train, _ = read(result.tensorboard / "train")
    assert sorted(train["loss"]) == [4, 8, 12, 16, 20]
