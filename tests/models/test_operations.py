"""Operations counted from the layers are those of the matrix products in TensorFlow's own graph."""

import numpy as np
import pytest
import tensorflow as tf

import kzoo
from kzoo.models.operations import of_forward, of_training
from tests import tiny

LENGTH, ROWS, PLACES = 12, 3, 4
NO_DROPOUT = dict(attention_dropout=0.0)


def products(graph) -> int:
    """Operations of the matrix products that a traced function's outputs need, whose shapes are known."""
    found, seen, waiting = 0, set(), [tensor.op for tensor in graph.outputs]
    while waiting:
        operation = waiting.pop()
        if operation.name in seen:
            continue
        seen.add(operation.name)
        waiting += [tensor.op for tensor in operation.inputs]
        assert operation.type not in ("Einsum", "Conv2D", "PartitionedCall", "StatefulPartitionedCall")
        if operation.type in ("MatMul", "BatchMatMulV2", "BatchMatMulV3"):
            left, out = operation.inputs[0].shape, operation.outputs[0].shape
            turned = operation.get_attr("transpose_a" if operation.type == "MatMul" else "adj_x")
            found += 2 * int(np.prod(out.as_list())) * int(left[-2] if turned else left[-1])
    return found


def specs(task, *, rows=ROWS, length=LENGTH):
    names = ["token_ids", "padding_mask"]
    features = {name: tf.TensorSpec([rows, length], tf.int32, name=name) for name in names}
    if hasattr(task, "mask_id"):
        features["mask_positions"] = tf.TensorSpec([rows, PLACES], tf.int32)
    return features


def traced(task, *, training):
    variables = [variable.value for variable in task.model.trainable_variables]

    @tf.function(autograph=False)
    def run(features):
        with tf.GradientTape() as tape:
            outputs = task.model(features, training=training)
            loss = sum(tf.reduce_sum(tf.square(one)) for one in tf.nest.flatten(outputs))
        return tape.gradient(loss, variables) if training else outputs

    return products(run.get_concrete_function(specs(task)).graph)


def counted(operations):
    return operations.of(rows=ROWS, tokens=ROWS * LENGTH, squares=ROWS * LENGTH**2, places=ROWS * PLACES)


def lora(task, **options):
    kzoo.lora.add(task, rank=2, **options)
    return task


def frozen(task):
    for layer in [task.backbone.token_embedding, task.backbone.position_embedding, *task.backbone.blocks[:1]]:
        layer.trainable = False
    return task


CASES = {
    "classify": lambda: kzoo.Classify(tiny.bert(**NO_DROPOUT), labels=["a", "b"], dropout=0.0),
    "classify with a decoder": lambda: kzoo.Classify(tiny.gpt2(**NO_DROPOUT), labels=["a", "b"], dropout=0.0),
    "classify with a hidden layer": lambda: kzoo.Classify(
        tiny.pretrained("distilbert", **NO_DROPOUT), labels=["a", "b"], dropout=0.0
    ),
    "embed": lambda: kzoo.Embed(tiny.pretrained("modernbert")),
    "generate": lambda: kzoo.Generate(tiny.gpt2(**NO_DROPOUT)),
    "generate, gated and grouped": lambda: kzoo.Generate(tiny.pretrained("llama", num_key_value_heads=2)),
    "fill_mask": lambda: kzoo.FillMask(tiny.bert(**NO_DROPOUT)),
    "pretrain": lambda: kzoo.Pretrain(tiny.bert(**NO_DROPOUT)),
    "adapters": lambda: lora(kzoo.Generate(tiny.gpt2(**NO_DROPOUT))),
    "adapters everywhere": lambda: lora(kzoo.Generate(tiny.pretrained("llama")), targets="all"),
    "frozen from below": lambda: frozen(kzoo.Classify(tiny.gpt2(**NO_DROPOUT), labels=["a", "b"], dropout=0.0)),
}


@pytest.mark.parametrize("name", CASES)
def test_they_are_those_of_the_graph(name):
    task = CASES[name]()
    assert counted(of_forward(task.model)) == traced(task, training=False)
    assert counted(of_training(task.model)) == traced(task, training=True)


def test_of_a_model_that_learns_wholly_the_way_back_costs_twice_the_way_forward():
    model = kzoo.Generate(tiny.gpt2()).model
    forward, training = of_forward(model), of_training(model)
    assert training.token == 3 * forward.token and training.square == 3 * forward.square
    matrices = sum(int(np.prod(one.shape)) for one in model.weights if one.path.endswith("kernel"))
    embedding = model.backbone.token_embedding.embeddings.shape
    assert forward.token == 2 * (matrices + embedding[0] * embedding[1])
