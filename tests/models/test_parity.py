"""Every family against its home: hidden states of every layer, logits, with padding and without, step by step."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kzoo
from kzoo.checkpoints.huggingface import load_directory
from kzoo.generation.controls import plain
from kzoo.generation.decode import decode
from kzoo.layers import masks
from kzoo.tasks.load import load_task
from tests import reference, tiny

pytestmark = pytest.mark.parity

ROPE = {"rope_theta": 100.0}
LLAMA3 = ROPE | dict(
    rope_type="llama3",
    factor=8.0,
    low_freq_factor=1.0,
    high_freq_factor=4.0,
    original_max_position_embeddings=20,
)
ENCODERS = {
    "bert": ("BertModel", {}),
    "bert, other figures": ("BertModel", {"hidden_act": "gelu_new", "layer_norm_eps": 1e-2}),
    "distilbert": ("DistilBertModel", {}),
    "electra": ("ElectraModel", {}),
    "electra, one width": ("ElectraModel", {"embedding_size": 16}),
    "modernbert": ("ModernBertModel", {"num_hidden_layers": 3}),
    "modernbert, older keys": (
        "ModernBertModel",
        {"num_hidden_layers": 3, "layer_types": ["full_attention", "sliding_attention", "full_attention"]},
    ),
    "roberta": ("RobertaModel", {}),
    "xlm-roberta": ("XLMRobertaModel", {}),
}
DECODERS = {
    "gpt2": ("GPT2LMHeadModel", {}),
    "gpt2, other figures": (
        "GPT2LMHeadModel",
        {"activation_function": "relu", "layer_norm_epsilon": 1e-2, "n_inner": 20},
    ),
    "gpt_neo": ("GPTNeoForCausalLM", {}),
    "llama": ("LlamaForCausalLM", {}),
    "llama, tied, with biases": (
        "LlamaForCausalLM",
        {"tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True, "head_dim": 6},
    ),
    "llama 3.1": ("LlamaForCausalLM", {"rope_parameters": LLAMA3}),
    "llama, linear": ("LlamaForCausalLM", {"rope_parameters": ROPE | {"rope_type": "linear", "factor": 2.0}}),
    "mistral": ("MistralForCausalLM", {}),
    "mistral, all that precedes": ("MistralForCausalLM", {"sliding_window": None}),
    "qwen2": ("Qwen2ForCausalLM", {}),
    "qwen2.5, long": (
        "Qwen2ForCausalLM",
        {
            "use_sliding_window": False,
            "rope_parameters": ROPE | {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 10},
        },
    ),
    "qwen3": ("Qwen3ForCausalLM", {}),
    "qwen3, untied": ("Qwen3ForCausalLM", {"tie_word_embeddings": False, "attention_bias": True}),
}
LENGTHS = {"padded": (11, 5, 8), "whole": (9, 9, 9)}


def load(cases, case, directory, **options):
    """The reference, and kzoo's backbone from the directory that it saved."""
    name, figures = cases[case]
    return reference.make(name, directory, **figures, **options), load_directory(directory).backbone


def assert_states(ours, theirs, mask):
    assert len(ours) == len(theirs) == 4
    for number, (one, other) in enumerate(zip(ours, theirs, strict=True)):
        np.testing.assert_allclose(one.numpy()[mask], other[mask], atol=1e-4, err_msg=f"layer {number}")


@pytest.mark.parametrize("case", ENCODERS)
def test_hidden_states_of_an_encoder(tmp_path, case):
    model, backbone = load(ENCODERS, case, tmp_path)
    for lengths in LENGTHS.values():
        features = tiny.features(92, lengths)
        theirs = reference.ask(model, features, output_hidden_states=True)
        outputs = backbone(features)
        assert_states(backbone.hidden_states(features), theirs["hidden_states"], features["padding_mask"])
        if backbone.pooler is not None:
            np.testing.assert_allclose(outputs["pooled_output"], theirs["pooler_output"], atol=1e-4)
    assert (backbone.pooler is None) == case.startswith(("distilbert", "electra", "modernbert"))


@pytest.mark.parametrize("case", DECODERS)
def test_hidden_states_and_logits_of_a_decoder(tmp_path, case):
    model, backbone = load(DECODERS, case, tmp_path)
    for lengths in LENGTHS.values():
        features = tiny.features(271, lengths)
        theirs = reference.ask(model, features, output_hidden_states=True)
        mask, states = features["padding_mask"], backbone.hidden_states(features)
        assert_states(states, theirs["hidden_states"], mask)
        np.testing.assert_array_equal(states[-1], backbone(features)["sequence_output"])
        np.testing.assert_allclose(backbone.logits(states[-1]).numpy()[mask], theirs["logits"][mask], atol=1e-4)


@pytest.mark.parametrize("case", DECODERS)
def test_logits_step_by_step(tmp_path, case):
    model, backbone = load(DECODERS, case, tmp_path)
    features = tiny.features(271, (12, 12))
    expected = reference.ask(model, features)["logits"]
    cache, start = backbone.empty_cache(2, 12), 0
    for size in (5, 1, 1, 2, 1, 1, 1):
        x, cache = backbone.step(
            features["token_ids"][:, start : start + size],
            cache,
            attention_mask=masks.causal(size, 12, offset=start),
            positions=np.arange(start, start + size, dtype="int32")[None],
            key_positions=np.arange(12, dtype="int32")[None],
            slot=start,
        )
        np.testing.assert_allclose(backbone.logits(x), expected[:, start : start + size], atol=1e-4)
        start += size


@pytest.mark.parametrize("case", DECODERS)
def test_greedy_continuations_of_prompts_of_different_lengths(tmp_path, case):
    """Token for token, each prompt alone in the reference, all together in kzoo's cached loop."""
    import torch

    model, backbone = load(DECODERS, case, tmp_path)
    features = tiny.features(271, (7, 3, 5), seed=2)
    lengths = features["padding_mask"].sum(1).astype("int32")
    found = decode(backbone, tf.constant(features["token_ids"]), tf.constant(lengths), plain(3, max_new_tokens=12))
    ours = found.token_ids
    assert found.counts.numpy().tolist() == [12, 12, 12]
    for row, length in enumerate(lengths):
        prompt = torch.tensor(features["token_ids"][row : row + 1, :length]).long()
        theirs = model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=12,
            min_new_tokens=12,
            do_sample=False,
            eos_token_id=None,
        )
        assert ours[row].numpy().tolist() == theirs[0, length:].tolist()


@pytest.mark.parametrize("case", [case for case in (*ENCODERS, *DECODERS) if "," not in case])
def test_bfloat16_is_as_near_as_the_references_own(tmp_path, case):
    """Relative to the size of the exact output, kzoo in bfloat16 errs about as much as the reference in bfloat16."""
    import torch

    cases = ENCODERS | DECODERS
    model = reference.make(cases[case][0], tmp_path, **cases[case][1])
    features = tiny.features(92, (11, 5, 8))
    mask = features["padding_mask"]

    def last(outputs):
        return np.asarray(outputs["hidden_states"][-1], "float32")[mask]

    exact = last(reference.ask(model, features, output_hidden_states=True))
    rounded = last(
        {
            "hidden_states": [
                state.float() for state in _ask(model.to(torch.bfloat16), features, output_hidden_states=True)
            ]
        }
    )
    backbone = load_directory(tmp_path, dtype="bfloat16").backbone
    output = backbone(features)["sequence_output"]
    assert output.dtype == tf.bfloat16 and all(weight.dtype == "bfloat16" for weight in backbone.weights)
    size = np.linalg.norm(exact)
    error = np.linalg.norm(tf.cast(output, tf.float32).numpy()[mask] - exact) / size
    assert error < max(2 * np.linalg.norm(rounded - exact) / size, 0.01)


def _ask(model, features, **options):
    import torch

    with torch.no_grad():
        return model(
            input_ids=torch.tensor(features["token_ids"]).long(),
            attention_mask=torch.tensor(features["padding_mask"]).long(),
            **options,
        ).hidden_states


@pytest.mark.parametrize(
    "name", [f"{kind}ForMaskedLM" for kind in ("Bert", "Roberta", "XLMRoberta", "DistilBert", "Electra", "ModernBert")]
)
def test_scores_of_masked_tokens(tmp_path, name):
    model = reference.make(name, tmp_path / "published")
    task, features = load_task(tmp_path / "published"), tiny.features(92)
    mask = features["padding_mask"]
    expected = reference.ask(model, features)["logits"]
    np.testing.assert_allclose(task.model(features)["token_logits"].numpy()[mask], expected[mask], atol=1e-4)
    places = np.array([[1, 3], [0, 4], [2, 7]], "int32")
    found = task.model(features | {"mask_positions": places})["token_logits"]
    np.testing.assert_allclose(found, np.take_along_axis(expected, places[:, :, None], 1), atol=1e-4)
    task.save(tmp_path / "saved")
    again = reference.ask(reference.load(tmp_path / "saved", name), features)["logits"]
    np.testing.assert_allclose(again[mask], expected[mask], atol=1e-5)


def test_segments_and_the_next_sentence(tmp_path):
    from kzoo.checkpoints.engine import import_tensors
    from kzoo.models.masked import build_masked

    model = reference.make("BertForPreTraining", tmp_path)
    pretrained = load_directory(tmp_path)

    class Root:
        backbone = pretrained.backbone
        model = build_masked(pretrained.backbone, pretrained.config, next_sentence=True)

    import_tensors(Root, pretrained.head_tensors("pretrain"), pretrained.family.HEADS["pretrain"].rules)
    features = tiny.features(92)
    features["segment_ids"] = (np.cumsum(np.ones_like(features["token_ids"]), 1) > 3).astype("int32")
    import torch

    theirs = reference.ask(model, features, token_type_ids=torch.tensor(features["segment_ids"]))
    ours = Root.model(features)
    np.testing.assert_allclose(ours["next_sentence_logits"], theirs["seq_relationship_logits"], atol=1e-4)
    mask = features["padding_mask"]
    np.testing.assert_allclose(ours["token_logits"].numpy()[mask], theirs["prediction_logits"][mask], atol=1e-4)


def test_a_window_narrower_than_the_text_is_seen(tmp_path):
    """The comparisons above would hold for a model that ignores its window, were the window wider than the texts."""
    for case in ("mistral", "qwen2", "gpt_neo"):
        _, backbone = load(DECODERS, case, tmp_path / case)
        windows = [block.attention.window for block in backbone.blocks]
        assert 4 in windows and (case == "mistral" or None in windows)


def test_gpt3_alternates():
    made = kzoo.fresh(
        "gpt3",
        tiny.tokenizer("gpt2"),
        hidden_dim=16,
        num_layers=3,
        num_heads=2,
        num_positions=40,
        attention_window=4,
    )
    assert [block.attention.window for block in made.backbone.blocks] == [None, 4, None]
    assert made.backbone.blocks[1].attention.scale == 8**-0.5  # scaled, unlike GPT-Neo
    assert isinstance(made.backbone, keras.Model)
