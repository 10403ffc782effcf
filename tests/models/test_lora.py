import keras
import numpy as np
import pytest

import kzoo
from kzoo.errors import UserError
from kzoo.models import lora
from tests import tiny
from tests.round_trip import through_keras

FEATURES = tiny.features(62)


def shake(model, seed=5):
    """Fills the adapters with noise, as if they had learned."""
    generator = np.random.default_rng(seed)
    for layer in lora.linear_layers(lora.backbone_of(model)).values():
        if layer.adapter is not None:
            layer.adapter.up.assign(generator.normal(scale=0.2, size=layer.adapter.up.shape))


def output(model):
    return lora.backbone_of(model)(FEATURES)["sequence_output"].numpy()


def adapted(kind="bert", **options):
    made = tiny.pretrained(kind)
    lora.add(made, **{"rank": 2, "alpha": 4, **options})
    shake(made)
    return made


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
def test_added_they_change_nothing_and_learn_alone(kind):
    made = tiny.pretrained(kind)
    before, learning = output(made), len(made.backbone.trainable_weights)
    told = lora.add(made, rank=2, alpha=4)
    np.testing.assert_array_equal(output(made), before)
    assert told.modules == tuple(f"blocks/{i}/attention/{name}" for i in (0, 1) for name in ("query", "value"))
    assert told.trainable == 4 * (16 * 2 + 2 * 16)
    assert told.total == sum(int(np.prod(weight.shape)) for weight in made.backbone.weights)
    assert str(told).startswith(f"4 adapters: 256 of {told.total:,} parameters learn (")
    assert {weight.path.split("/")[-2] for weight in made.backbone.trainable_weights} == {"adapter"}
    shake(made)
    assert not np.allclose(output(made), before)
    lora.remove(made)
    np.testing.assert_array_equal(output(made), before)
    assert len(made.backbone.trainable_weights) == learning and lora.describe(made) == {}


def test_targets():
    assert lora.add(tiny.bert(), targets="all").modules == tuple(
        f"blocks/{i}/{name}"
        for i in (0, 1)
        for name in (
            "attention/query",
            "attention/key",
            "attention/value",
            "attention/output_projection",
            "feed_forward/up",
            "feed_forward/down",
        )
    )
    assert lora.add(tiny.bert(), targets=["blocks/1/attention/key", "up"]).modules == (
        "blocks/0/feed_forward/up",
        "blocks/1/attention/key",
        "blocks/1/feed_forward/up",
    )


def test_what_cannot_be_is_told():
    made = tiny.bert()
    for options, text in (
        (
            dict(targets=("query", "q_proj")),
            "No linear layer of this model is called 'q_proj'; it has query, key, value",
        ),
        (dict(rank=0), "rank must be a whole number from 1. Received 0"),
        (dict(alpha=-1), "alpha must be above 0. Received -1"),
    ):
        with pytest.raises(UserError, match=text):
            lora.add(made, **options)
    assert lora.describe(made) == {} and len(made.backbone.trainable_weights) > 8
    lora.add(made)
    with pytest.raises(UserError, match="has adapters already"):
        lora.add(made)


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
def test_merged_it_answers_the_same_without_adapters(kind):
    made = adapted(kind, targets="all")
    before = output(made)
    lora.merge(made)
    assert lora.describe(made) == {} and not [one for one in made.backbone.weights if "adapter" in one.path]
    np.testing.assert_allclose(output(made), before, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
def test_a_rebuilt_copy_has_the_adapters(kind):
    made = adapted(kind, dropout=0.1)
    copy = made.rebuild()
    assert lora.describe(copy) == lora.describe(made)
    np.testing.assert_array_equal(output(copy), output(made))
    assert [one.path for one in copy.backbone.trainable_weights] == [
        one.path for one in made.backbone.trainable_weights
    ]


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
def test_through_a_keras_file(tmp_path, kind):
    made = adapted(kind, dropout=0.1)
    loaded = through_keras(made.backbone, tmp_path)
    assert lora.describe(loaded) == lora.describe(made)
    np.testing.assert_array_equal(loaded(FEATURES)["sequence_output"], output(made))
    assert len(loaded.trainable_weights) == len(made.backbone.trainable_weights) == 8
    task = kzoo.Classify(made, labels=["good", "bad"])
    whole = through_keras(task.model, tmp_path)
    features = {name: value.astype("int32") for name, value in FEATURES.items()}
    np.testing.assert_array_equal(whole(features), task.model(features))
    assert len(whole.trainable_weights) == len(task.model.trainable_weights)


def test_a_task_forgets_what_it_traced():
    task = kzoo.Generate(tiny.talkative(tiny.gpt2()), max_new_tokens=6)
    before = task.generate("the film")
    lora.add(task, rank=4, alpha=400, targets="all")
    assert not task.writer._functions and task._answer is None
    shake(task)
    assert task.generate("the film") != before
    lora.remove(task)
    assert not task.writer._functions


def test_keras_alone_trains_the_adapters_and_the_head():
    task = kzoo.Classify(tiny.bert(), labels=["good", "bad"])
    told = kzoo.lora.add(task, rank=2)
    head = sum(int(np.prod(weight.shape)) for weight in task.head.weights)
    assert told.trainable == 256 + head
    frozen = {one.path: np.asarray(one) for one in task.model.weights if not one.trainable}
    task.model.compile(keras.optimizers.Adam(0.05), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    features = {name: value.astype("int32") for name, value in FEATURES.items()}
    labels = np.array([0, 1, 0])
    losses = task.model.fit(features, labels, epochs=8, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    after = {one.path: np.asarray(one) for one in task.model.weights}
    assert "adapter" not in "".join(frozen) and len(frozen) > 20
    for path, value in frozen.items():
        if "seed" not in path:
            np.testing.assert_array_equal(after[path], value)
    assert all(np.asarray(one.adapter.up).any() for one in lora.linear_layers(task.backbone).values() if one.adapter)
