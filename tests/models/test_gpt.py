import keras
import numpy as np
import pytest
import tensorflow as tf

from kzoo.generation.controls import plain
from kzoo.generation.decode import decode
from kzoo.layers import masks
from kzoo.layers.attention import Attention
from kzoo.layers.block import TransformerBlock
from kzoo.layers.embedding import TokenEmbedding
from kzoo.layers.feed_forward import GatedFeedForward
from kzoo.layers.linear import Linear
from kzoo.layers.norm import RMSNorm
from kzoo.layers.rotary import Rotary
from kzoo.models.families import gpt2 as family
from kzoo.models.gpt import Decoder, DecoderConfig, LanguageModel, build_decoder
from tests import tiny
from tests.round_trip import scramble, through_keras

VOCABULARY = 271


def llama(*, num_layers=2, vocabulary_size=50, base=10000.0, epsilon=1e-5) -> Decoder:
    """A decoder of the same class and block, made as Llama is: rotary, grouped heads, RMS norm, gated, untied."""
    blocks = [
        TransformerBlock(
            attention=Attention(
                hidden_dim=16,
                num_heads=4,
                num_key_value_heads=2,
                rotary=Rotary(base=base),
                use_bias=False,
                use_output_bias=False,
                name="attention",
            ),
            feed_forward=GatedFeedForward(hidden_dim=16, feed_forward_dim=24, name="feed_forward"),
            attention_norm=RMSNorm(epsilon=epsilon, name="attention_norm"),
            feed_forward_norm=RMSNorm(epsilon=epsilon, name="feed_forward_norm"),
            norm_first=True,
            name=f"block_{index}",
        )
        for index in range(num_layers)
    ]
    decoder = Decoder(
        token_embedding=TokenEmbedding(vocabulary_size=vocabulary_size, hidden_dim=16, name="token_embedding"),
        position_embedding=None,
        blocks=blocks,
        final_norm=RMSNorm(epsilon=epsilon, name="final_norm"),
        head=Linear(vocabulary_size, use_bias=False, name="head"),
        num_positions=40,
        name="backbone",
    )
    scramble(decoder)
    return decoder


DECODERS = {"gpt2": lambda: tiny.gpt2().backbone, "llama": llama}


@pytest.fixture(params=DECODERS)
def decoder(request) -> Decoder:
    return DECODERS[request.param]()


def all_logits(decoder, features):
    return decoder.logits(decoder(features)["sequence_output"])


def test_outputs(decoder):
    features = tiny.features(50)
    outputs = decoder(features)
    assert set(outputs) == {"sequence_output"} and outputs["sequence_output"].shape == (3, 11, 16)
    logits = decoder.logits(outputs["sequence_output"])
    assert logits.shape == (3, 11, decoder.vocabulary_size) and logits.dtype == tf.float32


def test_a_later_token_never_changes_an_earlier_output(decoder):
    features = tiny.features(50, lengths=(8, 8))
    before = decoder(features)["sequence_output"].numpy()
    features["token_ids"][:, 5:] = 3 + features["token_ids"][:, 5:] % 7
    after = decoder(features)["sequence_output"].numpy()
    np.testing.assert_array_equal(before[:, :5], after[:, :5])
    assert not np.isclose(before[:, 5:], after[:, 5:]).all(axis=-1).all()


def test_padding_never_changes_real_tokens(decoder):
    features = tiny.features(50)
    together = decoder(features)["sequence_output"]
    for row, length in enumerate((11, 5, 8)):
        alone = decoder({name: value[row : row + 1, :length] for name, value in features.items()})
        np.testing.assert_allclose(together[row, :length], alone["sequence_output"][0], atol=1e-5)


@pytest.mark.parametrize("chunks", [(1,) * 8, (5, 1, 2)])
def test_steps_with_the_cache_equal_call(decoder, chunks):
    features = tiny.features(50, lengths=(8, 8))
    whole = decoder(features)["sequence_output"]
    cache, parts, start = decoder.empty_cache(2, 10), [], 0
    for size in chunks:
        hidden, cache = decoder.step(
            features["token_ids"][:, start : start + size],
            cache,
            attention_mask=masks.causal(size, 10, offset=start),
            positions=np.arange(start, start + size, dtype="int32")[None],
            slot=start,
        )
        parts.append(hidden)
        start += size
    np.testing.assert_allclose(np.concatenate(parts, axis=1), whole, atol=1e-5)


def test_the_decoding_loop_equals_call_again_and_again(decoder):
    """Prompts of different lengths in one batch: each continues as if read anew at every token, without any cache."""
    features = tiny.features(50, lengths=(6, 2, 4), seed=3)
    lengths = features["padding_mask"].sum(1)
    found = decode(
        decoder,
        tf.constant(features["token_ids"]),
        tf.constant(lengths, tf.int32),
        plain(3, max_new_tokens=5),
    )
    new_ids, counts = found.token_ids, found.counts
    assert counts.numpy().tolist() == [5, 5, 5]
    for row, length in enumerate(lengths):
        ids = features["token_ids"][row, :length].tolist()
        for _ in range(5):
            inputs = {"token_ids": np.array([ids], "int32"), "padding_mask": np.ones((1, len(ids)), bool)}
            ids.append(int(np.argmax(all_logits(decoder, inputs)[0, -1])))
        assert new_ids[row].numpy().tolist() == ids[length:]


def test_saved_as_keras(decoder, tmp_path):
    features = tiny.features(50)
    loaded = through_keras(decoder, tmp_path)
    assert type(loaded) is Decoder
    np.testing.assert_array_equal(all_logits(loaded, features), all_logits(decoder, features))


def test_the_language_model_is_saved_as_keras(decoder, tmp_path):
    model, features = LanguageModel(decoder, name="generate"), tiny.features(50)
    loaded = through_keras(model, tmp_path)
    np.testing.assert_array_equal(loaded(features), all_logits(decoder, features))


def test_summary_names_the_parts(decoder):
    lines = []
    LanguageModel(decoder, name="generate").summary(print_fn=lines.append, expand_nested=True)
    text = "\n".join(lines)
    for part in ("backbone", "token_embedding", "block_1", "final_norm"):
        assert part in text
    assert f"{decoder.count_params():,}" in text


def test_gradients_reach_every_weight(decoder):
    features = tiny.features(50)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(all_logits(decoder, features) ** 2)
    gradients = tape.gradient(loss, decoder.trainable_weights)
    for weight, gradient in zip(decoder.trainable_weights, gradients, strict=True):
        gradient = tf.convert_to_tensor(gradient)
        assert np.isfinite(gradient).all(), weight.path
        assert weight.path.endswith("key/bias") or np.any(gradient), weight.path


def test_the_head_is_the_token_embedding_unless_given():
    tied, untied = tiny.gpt2().backbone, llama()
    hidden = np.eye(16, dtype="float32")
    np.testing.assert_allclose(tied.logits(hidden), tied.token_embedding.embeddings.numpy().T, atol=1e-6)
    np.testing.assert_allclose(untied.logits(hidden), untied.head.kernel.numpy(), atol=1e-6)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "bfloat16"])
def test_precision(policy):
    exact, features = tiny.gpt2().backbone, tiny.features(VOCABULARY)
    decoder = tiny.gpt2(dtype=policy).backbone
    hidden = decoder(features)["sequence_output"]
    assert hidden.dtype == tf.bfloat16 and decoder.logits(hidden).dtype == tf.float32
    assert {weight.dtype for weight in decoder.weights} == {"float32" if policy == "mixed_bfloat16" else "bfloat16"}
    assert {cache.key.dtype for cache in decoder.empty_cache(1, 4)} == {tf.bfloat16}
    difference = tf.cast(hidden, tf.float32) - exact(features)["sequence_output"]
    assert np.abs(difference[features["padding_mask"]]).mean() < 0.05


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "bfloat16"])
def test_low_precision_decodes(policy):
    decoder = tiny.gpt2(dtype=policy).backbone
    prompts, lengths = tf.constant([[5, 6, 7], [5, 0, 0]]), tf.constant([3, 1])
    found = decode(decoder, prompts, lengths, plain(2, max_new_tokens=[4, 2]))
    assert found.counts.numpy().tolist() == [4, 2]


def test_compile_and_fit_without_kzoos_runner():
    """A few steps of plain Keras: the loss falls, and the tied matrix has moved."""
    model, features = LanguageModel(tiny.gpt2(dropout=0.1).backbone), tiny.features(VOCABULARY)
    before = model.backbone.token_embedding.embeddings.numpy().copy()
    targets = np.roll(features["token_ids"], -1, axis=1)
    weights = features["padding_mask"].astype("float32")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.Adam(0.02), loss=loss)
    data = tf.data.Dataset.from_tensors((features, targets, weights)).repeat(12)
    start = model.evaluate(data.take(1), verbose=0)
    model.fit(data, verbose=0)
    assert model.evaluate(data.take(1), verbose=0) < 0.7 * start
    assert not np.allclose(model.backbone.token_embedding.embeddings.numpy(), before, atol=1e-2)


def test_a_figure_that_cannot_be_is_named():
    with pytest.raises(ValueError, match="num_heads must divide hidden_dim"):
        build_decoder(DecoderConfig(vocabulary_size=9, **tiny.FIGURES | {"num_heads": 3}))
    with pytest.raises(ValueError, match="hidden_dim must be of type int. Received '16'"):
        DecoderConfig(vocabulary_size=9, **tiny.FIGURES | {"hidden_dim": "16"})
    with pytest.raises(ValueError, match="num_layers must be at least 1. Received 0"):
        DecoderConfig(vocabulary_size=9, **tiny.FIGURES | {"num_layers": 0})
    with pytest.raises(ValueError, match="dropout must be at least 0. Received -0.1"):
        DecoderConfig(vocabulary_size=9, dropout=-0.1, **tiny.FIGURES)


def test_the_family_publishes_what_it_reads():
    config = DecoderConfig(vocabulary_size=271, **tiny.FIGURES, activation="relu", norm_epsilon=1e-3, dropout=0.3)
    assert family.config(family.publish(config)) == config
