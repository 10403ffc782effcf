"""Differential privacy: epsilon by a formula, sampling by counts, the step by hand, a run that says what it spent."""

import json
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.stats import binom, norm

import kzoo
from kzoo.data.batching import Batches
from kzoo.data.examples import Examples
from kzoo.data.plan import plan_poisson, poisson_places
from kzoo.errors import UserError
from kzoo.serving.export import export
from kzoo.serving.warmup import Plan as WarmUp
from kzoo.tasks.load import load_task
from kzoo.training.config import PrivacyConfig, TrainingConfig
from kzoo.training.privacy import Mechanism, check_private, mechanism
from kzoo.training.private_step import PrivateTrainingModel
from tests import tiny

LABELS = ["bad", "good"]
ROWS = [("a good film", "good"), ("a bad film", "bad"), ("it was not at all bad", "bad"), ("good", "good")]
MADE = dict(clip=0.05, rate=0.1, lot=8.0, delta=1e-3, steps=20, seed=3)


def classifier(**figures):
    task = kzoo.Classify(
        tiny.pretrained("bert", **{"num_layers": 1, "attention_dropout": 0.0, **figures}), labels=LABELS, dropout=0.0
    )
    task.head.kernel.assign(np.random.default_rng(0).normal(size=(16, 2)))
    return task


def examples(times=2):
    return Examples({"text": [text for text, _ in ROWS] * times, "label": [label for _, label in ROWS] * times})


def prepared(task, *, noise_multiplier=1.0, accumulate=1):
    return PrivateTrainingModel(
        task.model,
        mechanism=Mechanism(noise_multiplier=noise_multiplier, **MADE),
        loss=task.loss(),
        metrics=task.metrics(),
        optimizer=keras.optimizers.SGD(1.0),
        accumulate=accumulate,
    )


# -- what it is worth --------------------------------------------------------------------------------------


def test_epsilon_of_one_step_over_all_is_that_of_the_gaussian_mechanism():
    pytest.importorskip("dp_accounting")
    found = Mechanism(noise_multiplier=1.5, **MADE | {"rate": 1.0, "delta": 1e-5}).epsilon(1)
    half = 1 / (2 * 1.5)  # Balle and Wang 2018, theorem 8
    delta = norm.cdf(half - found * 1.5) - math.exp(found) * norm.cdf(-half - found * 1.5)
    assert delta == pytest.approx(1e-5, rel=0.02)
    assert Mechanism(noise_multiplier=1.5, **MADE).epsilon(0) == 0
    assert 100 < Mechanism(noise_multiplier=0.05, **MADE).epsilon(20) < math.inf  # a bound, at once


def test_the_noise_for_an_epsilon():
    pytest.importorskip("dp_accounting")
    made = mechanism(PrivacyConfig(epsilon=2.0), examples=1000, batch_size=50, steps=20, seed=0)
    assert (made.rate, made.lot, made.delta, made.clip) == (0.05, 50.0, 1e-4, 1.0)
    assert 1.9 < made.epsilon(20) <= 2.0 and made.epsilon(10) < made.epsilon(20)
    assert "seed" not in str(made) and "epsilon 1.9" in str(made)
    assert "seed" not in made.summary(20)
    with pytest.raises(UserError, match="privacy.delta must lie below 1 / 1000"):
        mechanism(PrivacyConfig(epsilon=2.0, delta=0.01), examples=1000, batch_size=50, steps=20, seed=0)
    with pytest.raises(UserError, match="batch_size must not exceed the 40 examples. Received 50"):
        mechanism(PrivacyConfig(epsilon=2.0), examples=40, batch_size=50, steps=20, seed=0)


@pytest.mark.parametrize("given", [{}, {"epsilon": 1.0, "noise_multiplier": 1.0}])
def test_one_measure_of_privacy(given):
    with pytest.raises(ValueError, match="privacy needs epsilon or noise_multiplier, and not both"):
        PrivacyConfig(**given)


def test_what_cannot_be_private():
    task = classifier()
    settings = TrainingConfig(privacy={"epsilon": 8})
    check_private(task, settings, own_rows=False)
    for given, message in [
        ({"precision": "mixed_float16"}, "before its scale is known. Use mixed_bfloat16"),
        ({"jit": True}, "one by one, which jit does not compile"),
    ]:
        with pytest.raises(UserError, match=message):
            check_private(task, settings.model_copy(update=given), own_rows=False)
    with pytest.raises(UserError, match="draws from all examples at each step"):
        check_private(task, settings, own_rows=True)
    balanced = kzoo.Classify(task.pretrained, labels=LABELS, class_weights="balanced")
    with pytest.raises(UserError, match="cannot balance classes by counting them"):
        check_private(balanced, settings, own_rows=False)
    with pytest.raises(UserError, match="The task tag packs, cuts or joins them"):
        check_private(kzoo.Tag(task.pretrained, labels=["PER"]), settings, own_rows=False)
    task.model = keras.Sequential([keras.Input((2,)), keras.layers.BatchNormalization()])
    with pytest.raises(UserError, match="cannot have batch normalization: it mixes"):
        check_private(task, settings, own_rows=False)


# -- who is in a step --------------------------------------------------------------------------------------


def test_each_row_joins_each_batch_by_itself():
    lengths = np.arange(200) % 30 + 2
    plan = plan_poisson(lengths, batch_size=20, places=64, steps=500, lengths=(8, 16, 32), seed=1)
    assert plan.rows.shape == (500, 64)
    drawn = [rows[:count] for rows, count in zip(plan.rows, plan.counts, strict=True)]
    assert all(len(set(rows)) == len(rows) for rows in drawn)
    times = np.bincount(np.concatenate(drawn), minlength=200)
    assert times.mean() == pytest.approx(50, rel=0.03) and times.std() == pytest.approx(math.sqrt(45), rel=0.2)
    assert plan.counts.std() == pytest.approx(math.sqrt(18), rel=0.15)
    for rows, length in zip(drawn, plan.lengths, strict=True):
        assert length == min(one for one in (8, 16, 32) if one >= lengths[rows].max())
    again = plan_poisson(lengths, batch_size=20, places=64, steps=500, lengths=(8, 16, 32), seed=1)
    other = plan_poisson(lengths, batch_size=20, places=64, steps=500, lengths=(8, 16, 32), seed=1, epoch=1)
    assert np.array_equal(plan.rows, again.rows) and not np.array_equal(plan.rows, other.rows)


def test_a_batch_may_be_empty():
    plan = plan_poisson(np.array([3, 4]), batch_size=1, places=4, steps=50, lengths=(8,), seed=0)
    assert plan.counts.min() == 0


@pytest.mark.parametrize("expected", [1, 8, 64, 1000])
def test_no_batch_has_too_few_places(expected):
    places = poisson_places(expected, 6)
    assert places % 6 == 0 and places < 2 * expected + 40
    assert binom.sf(places, 100_000, expected / 100_000) < 1e-11


# -- the step ----------------------------------------------------------------------------------------------


def by_hand(task, batch, clip):
    """The sum of clipped gradients, an example at a time, padded as it is."""
    features, targets, weights = batch
    variables = [one.value for one in task.model.trainable_variables]
    total = None
    for row in np.flatnonzero(weights):
        with tf.GradientTape() as tape:
            logits = task.model({name: value[row : row + 1] for name, value in features.items()})
            loss = tf.nn.sparse_softmax_cross_entropy_with_logits(targets[row : row + 1], logits)
        found = tape.gradient(loss, variables, unconnected_gradients="zero")
        gradients = [np.asarray(tf.convert_to_tensor(one)) for one in found]
        length = math.sqrt(sum(float((one**2).sum()) for one in gradients))
        shortened = [one * min(1.0, clip / length) for one in gradients]
        total = shortened if total is None else [a + b for a, b in zip(total, shortened, strict=True)]
    return total


@pytest.mark.parametrize("accumulate", [1, 2])
def test_each_example_is_clipped_and_padding_is_not_one(accumulate):
    task = classifier()
    batches = Batches(task, examples(), batch_size=5, training=True, seed=2, poisson=16)
    batch = next(iter(batches.dataset()))
    assert 0 < np.count_nonzero(batch[2]) < 16
    model = prepared(task, accumulate=accumulate)
    replica = tf.distribute.get_replica_context()
    loss, gradients = tf.function(lambda: model._accumulated(replica, batch, tf.constant(5.0)))()
    expected = by_hand(task, batch, MADE["clip"])
    reached = [place for place, one in enumerate(gradients) if one is not None]
    for place, wanted in enumerate(expected):
        if place in reached:
            np.testing.assert_allclose(gradients[place], wanted / MADE["lot"], atol=1e-6)
        else:
            assert not np.any(wanted)
    together = math.sqrt(sum(float(tf.reduce_sum(gradients[place] ** 2)) for place in reached)) * MADE["lot"]
    assert together <= np.count_nonzero(batch[2]) * MADE["clip"] * 1.0001
    assert float(loss) > 0


def test_noise_is_a_function_of_the_seed_and_the_step():
    task = classifier()
    model = prepared(task, noise_multiplier=3.0)
    zeros = [tf.zeros([200, 50]), tf.zeros([300])]
    first, again = model._released(zeros), model._released(zeros)
    model._counts.assign([1, 0, 0, -1])
    later = model._released(zeros)
    for one, same, other in zip(first, again, later, strict=True):
        assert np.array_equal(one, same) and not np.array_equal(one, other)
    assert np.std(first[0]) == pytest.approx(3.0 * MADE["clip"] / MADE["lot"], rel=0.05)
    assert not np.array_equal(first[0][0, :50], first[1][:50])


def test_a_run_and_its_export_say_its_epsilon(tmp_path):
    pytest.importorskip("dp_accounting")
    task = classifier(dropout=0.1)
    kzoo.lora.add(task, rank=2, targets="all")
    data = examples(12)
    run = kzoo.fit(
        task,
        data,
        data,
        epochs=2,
        batch_size=12,
        learning_rate=0.02,
        privacy={"noise_multiplier": 0.3, "delta": 1e-3, "secret": False},
        run_folder=tmp_path / "run",
        logging={"progress": "none", "tensorboard": False},
        say=lambda line: None,
    )
    spent = [entry["epsilon"] for entry in run.history]
    assert spent == sorted(spent) and spent[0] > 0
    assert run.metrics["privacy"]["epsilon"] == pytest.approx(spent[-1], abs=1e-3)
    described = json.loads((tmp_path / "run" / "model" / "kzoo.json").read_text())
    assert described["privacy"] == run.metrics["privacy"]
    loaded = load_task(tmp_path / "run" / "model")
    assert loaded.privacy == run.metrics["privacy"]
    path = export(loaded, tmp_path / "export", warm_up=WarmUp(batch_sizes=(1,), lengths=(8,)))
    card = (path / "assets.extra" / "card.md").read_text()
    assert "It was trained with differential privacy: epsilon" in card and "one example added or removed" in card
