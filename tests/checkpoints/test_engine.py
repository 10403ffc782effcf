from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from kzoo.checkpoints.engine import expand, export_tensors, import_tensors, resolve
from kzoo.errors import UserError
from kzoo.layers.linear import Linear
from kzoo.models.rules import Rule, split, transpose
from tests.round_trip import array


class Model(keras.Model):
    """Two blocks of one matrix each, a wide map and an output that repeats the first matrix."""

    def __init__(self, pooler=True, dtype="float32"):
        super().__init__(dtype=dtype)
        self.blocks = [Linear(3, use_bias=False, dtype=dtype) for _ in range(2)]
        self.wide = SimpleNamespace(one=Linear(2, dtype=dtype), two=Linear(2, dtype=dtype))
        self.pooler = Linear(2, dtype=dtype) if pooler else None
        for part in (*self.blocks, self.wide.one, self.wide.two, self.pooler):
            if part is not None:
                part.build((None, 3))
        self.parts = [self.wide.one, self.wide.two]
        self.built = True


RULES = [
    Rule("layer.{i}.weight", "blocks/{i}/kernel", transpose),
    Rule("layer.{i}.mask", None),
    Rule("wide.weight", ("wide/one/kernel", "wide/two/kernel"), split(axis=1, parts=2)),
    Rule("wide.bias", ("wide/one/bias", "wide/two/bias"), split(axis=0, parts=2)),
    Rule("out.weight", "blocks/0/kernel", transpose, tied=True, optional=True),
    Rule("pooler.weight", "pooler/kernel", optional=True),
    Rule("pooler.bias", "pooler/bias", optional=True),
]


def published(pooler=True):
    tensors = {
        "layer.0.weight": array(3, 3),
        "layer.1.weight": array(3, 3, seed=1),
        "wide.weight": array(3, 4, seed=2),
        "wide.bias": array(4, seed=3),
    }
    return tensors | ({"pooler.weight": array(3, 2, seed=4), "pooler.bias": array(2, seed=5)} if pooler else {})


def read(model, tensors, where="there"):
    import_tensors(model, tensors, RULES, num_blocks=2, where=where)
    return model


def refusal(model, tensors) -> str:
    with pytest.raises(UserError) as caught:
        read(model, tensors)
    return str(caught.value)


def test_expand_writes_a_rule_for_each_block():
    rules = list(expand(RULES, 3))
    assert [rule.source for rule in rules[:3]] == ["layer.0.weight", "layer.1.weight", "layer.2.weight"]
    assert rules[2].targets == ("blocks/2/kernel",)
    assert [rule.targets for rule in rules[3:6]] == [(), (), ()]
    assert [rule.source for rule in rules[6:]] == [rule.source for rule in RULES[2:]]


def test_resolve_follows_attributes_and_indices():
    model = Model(pooler=False)
    assert resolve(model, "blocks/1/kernel") is model.blocks[1].kernel
    assert resolve(model, "pooler/kernel") is None and resolve(model, "nothing/at/all") is None


def test_import_fills_each_weight_by_its_rule():
    model, tensors = read(Model(), published()), published()
    np.testing.assert_array_equal(model.blocks[1].kernel, tensors["layer.1.weight"].T)
    np.testing.assert_array_equal(model.wide.two.kernel, tensors["wide.weight"][:, 2:])
    np.testing.assert_array_equal(model.wide.one.bias, tensors["wide.bias"][:2])
    np.testing.assert_array_equal(model.pooler.bias, tensors["pooler.bias"])


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
def test_export_undoes_import_bitwise(dtype):
    tensors = {name: tensor.astype(dtype) for name, tensor in published().items()}
    back = dict(export_tensors(read(Model(), tensors), RULES, num_blocks=2, dtypes=dict.fromkeys(tensors, dtype)))
    assert set(back) == set(tensors)
    for name, tensor in tensors.items():
        expected = tensor.astype("float32").astype(dtype)  # float64 is the one that weights cannot hold
        assert back[name].dtype == tensor.dtype and back[name].tobytes() == expected.tobytes(), name


def test_export_in_another_dtype():
    model = read(Model(), published())
    assert {str(one.dtype) for _, one in export_tensors(model, RULES, num_blocks=2)} == {"float32"}
    tensors = dict(export_tensors(model, RULES, num_blocks=2, dtypes={"wide.bias": "float16"}, dtype="bfloat16"))
    assert str(tensors["wide.bias"].dtype) == "float16" and str(tensors["wide.weight"].dtype) == "bfloat16"


def test_low_precision_weights_take_float32_tensors():
    model = read(Model(dtype="bfloat16"), published())
    assert model.blocks[0].kernel.dtype == "bfloat16"
    np.testing.assert_allclose(
        np.asarray(model.blocks[0].kernel).astype("float32"), published()["layer.0.weight"].T, rtol=1e-2
    )


def test_missing_and_unexpected_names_are_all_listed():
    tensors = published()
    del tensors["layer.1.weight"], tensors["wide.bias"]
    tensors |= {"layer.2.weight": array(3, 3), "surprise": array(1)}
    text = refusal(Model(), tensors)
    assert "2 missing: layer.1.weight, wide.bias" in text
    assert "2 unexpected: layer.2.weight, surprise" in text
    assert "there" in text


def test_a_long_list_is_cut_and_counted():
    text = refusal(Model(), published() | {f"extra.{number:02}": array(1) for number in range(11)})
    assert "11 unexpected: extra.00" in text and "extra.07 and 3 more" in text and "extra.08" not in text


def test_a_wrong_shape_is_named():
    text = refusal(Model(), published() | {"wide.bias": array(6)})
    assert "wide.bias of there has shape [6], but config.json asks for [2] at wide/one/bias" in text
    text = refusal(Model(), published() | {"wide.bias": array(5)})
    assert "wide.bias of there has shape [5], which cannot be" in text


def test_tied_weights_must_agree():
    tensors = published()
    read(Model(), tensors | {"out.weight": tensors["layer.0.weight"]})
    text = refusal(Model(), tensors | {"out.weight": tensors["layer.0.weight"] + 1})
    assert text == "out.weight of there differs from layer.0.weight, which it is tied to."


def test_a_tied_tensor_is_not_written():
    tensors = published()
    model = read(Model(), tensors | {"out.weight": tensors["layer.0.weight"]})
    assert "out.weight" not in dict(export_tensors(model, RULES, num_blocks=2))


def test_an_optional_tensor_may_lack_with_its_weights_only():
    read(Model(pooler=False), published(pooler=False))
    tensors = published()
    del tensors["pooler.bias"]
    assert "1 missing: pooler.bias" in refusal(Model(), tensors)


def test_a_tensor_without_a_place_is_named():
    text = refusal(Model(pooler=False), published())
    assert "pooler.weight of there has no place: the model built from config.json lacks pooler/kernel" in text


def test_no_weight_stays_unfilled():
    model = Model()
    model.extra = Linear(2, use_bias=False, name="forgotten")
    model.extra.build((None, 3))
    assert "leave 1 weights of the model without values: " in refusal(model, published())


def test_a_known_tensor_without_target_is_skipped():
    read(Model(), published() | {"layer.0.mask": array(2, 2)})


class InParts(dict):
    """Tensors that are read a row at a time, as large ones are."""

    def shape_of(self, name):
        return self[name].shape

    def rows(self, name):
        return ((row, self[name][row : row + 1]) for row in range(len(self[name])))


def test_weights_written_in_parts_are_whole_and_are_not_copied_when_they_are_read():
    tensors = published()
    model = read(Model(), InParts(tensors))
    np.testing.assert_array_equal(model.blocks[1].kernel, tensors["layer.1.weight"].T)
    for weight in model.weights:
        one, other = (tf.raw_ops.ReadVariableOp(resource=weight.value.handle, dtype=weight.dtype) for _ in range(2))
        assert np.shares_memory(np.asarray(one), np.asarray(other)), weight.path
