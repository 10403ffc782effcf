import json
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import safetensors.numpy
import tensorflow as tf

import kzoo
from kzoo.checkpoints.engine import export_tensors, import_tensors
from kzoo.checkpoints.huggingface import load_directory, save_directory
from kzoo.checkpoints.safetensors import Tensors
from kzoo.errors import UserError
from kzoo.models.families import FAMILIES, family
from kzoo.models.rules import Rule, transpose
from kzoo.tasks.load import load_task
from tests import reference, tiny
from tests.models.test_gpt import llama

ARCHITECTURES = [
    "BertModel",
    "BertForSequenceClassification",
    "BertForMaskedLM",
    "BertForPreTraining",
    "GPT2Model",
    "GPT2LMHeadModel",
    "GPT2ForSequenceClassification",
]


def vocabulary_of(name):
    return tiny.tokenizer(name[:4].lower()).vocabulary_size


def same_bits(one, other):
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_says_all_that_it_must(name):
    module = family(name)
    assert module.MODEL_TYPE == name
    assert module.ARCHITECTURE and module.PREFIX.endswith(".")
    for rule in module.RULES:
        assert "{i}" in rule.source or not any("{i}" in target for target in rule.targets)
    assert set(module.HEADS) <= {"classify", "generate", "embed"}


def test_an_unknown_family_lists_the_known():
    with pytest.raises(UserError, match=r"kzoo has no family 'mamba'; it has bert, gpt2\."):
        family("mamba")


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("bert", "position_embedding_type", "relative_key"),
        ("bert", "is_decoder", True),
        ("gpt2", "scale_attn_by_inverse_layer_idx", True),
        ("gpt2", "scale_attn_weights", False),
        ("gpt2", "add_cross_attention", True),
    ],
)
def test_what_the_family_does_not_have_is_refused(name, key, value):
    published = tiny.pretrained(name).published
    family(name).config(published)
    with pytest.raises(UserError, match=f"must have {key} .* Received {value!r}"):
        family(name).config(published | {key: value})


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_export_of_import_is_the_same_bits(name, dtype):
    pretrained = tiny.pretrained(name)
    backbone, rules = pretrained.backbone, family(name).RULES
    tensors = {key: tensor.astype(dtype) for key, tensor in export_tensors(backbone, rules, num_blocks=2).items()}
    other = tiny.pretrained(name, seed=1).backbone
    import_tensors(other, tensors, rules, num_blocks=2)
    back = export_tensors(other, rules, num_blocks=2, dtypes=dict.fromkeys(tensors, dtype))
    assert set(back) == set(tensors)
    for key, tensor in tensors.items():
        assert same_bits(back[key], tensor), key


@pytest.mark.parametrize("name", FAMILIES)
def test_rules_reach_every_weight_once(name):
    backbone = tiny.pretrained(name).backbone
    tensors = export_tensors(backbone, family(name).RULES, num_blocks=2)
    assert sum(tensor.size for tensor in tensors.values()) == backbone.count_params()


def test_the_oldest_bert_files_name_their_norms_gamma_and_beta(tmp_path):
    pretrained = tiny.bert()
    save_directory(pretrained, tmp_path)
    path = tmp_path / "model.safetensors"
    tensors = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
        for name, tensor in safetensors.numpy.load_file(path).items()
    }
    assert sum(name.endswith("gamma") for name in tensors) == 5
    safetensors.numpy.save_file(tensors, path)
    features = tiny.features(92)
    np.testing.assert_array_equal(
        load_directory(tmp_path).backbone(features)["pooled_output"], pretrained.backbone(features)["pooled_output"]
    )


@pytest.mark.parametrize(
    ("name", "buffers"),
    [("bert", ["embeddings.position_ids"]), ("gpt2", ["h.0.attn.bias", "h.1.attn.bias", "h.0.attn.masked_bias"])],
)
def test_buffers_of_older_releases_are_passed_over(tmp_path, name, buffers):
    save_directory(tiny.pretrained(name), tmp_path)
    path = tmp_path / "model.safetensors"
    tensors = safetensors.numpy.load_file(path) | {buffer: np.zeros((1, 4), "float32") for buffer in buffers}
    safetensors.numpy.save_file(tensors, path)
    load_directory(tmp_path)
    safetensors.numpy.save_file(tensors | {"h.7.attn.bias": np.zeros(3)}, path)
    with pytest.raises(UserError, match="1 unexpected: h.7.attn.bias"):
        load_directory(tmp_path)


@pytest.mark.parity
@pytest.mark.parametrize(
    ("name", "dtype"),
    [(name, "float32") for name in ARCHITECTURES]
    + [(f"{kind}ForSequenceClassification", dtype) for kind in ("Bert", "GPT2") for dtype in ("float16", "bfloat16")],
)
def test_published_tensors_come_back_bitwise(tmp_path, name, dtype):
    """What kzoo does not use (pretraining heads) is left out; all else comes back as it was."""
    reference.make(name, tmp_path / "published", dtype=dtype)
    if name.endswith("SequenceClassification"):
        load_task(tmp_path / "published").save(tmp_path / "saved")
    elif name == "GPT2LMHeadModel":
        kzoo.Generate(load_directory(tmp_path / "published")).save(tmp_path / "saved")
    else:
        save_directory(load_directory(tmp_path / "published"), tmp_path / "saved")
    published, saved = Tensors(tmp_path / "published"), Tensors(tmp_path / "saved")
    compared = 0
    for stored, tensor in published.items():
        bare = stored.removeprefix("bert.").removeprefix("transformer.")
        if not bare.startswith("cls."):
            ours = saved[stored if stored in saved else bare]
            assert same_bits(ours, tensor), stored
            compared += 1
    assert compared == len(saved) >= 40


@pytest.mark.parity
@pytest.mark.parametrize("name", ["BertModel", "GPT2Model"])
def test_a_saved_backbone_loads_in_the_reference(tmp_path, name):
    pretrained = tiny.pretrained(name[:4].lower())
    save_directory(pretrained, tmp_path)
    features = tiny.features(vocabulary_of(name))
    theirs = reference.ask(reference.load(tmp_path, name), features)["last_hidden_state"]
    ours = pretrained.backbone(features)["sequence_output"].numpy()
    mask = features["padding_mask"]
    np.testing.assert_allclose(ours[mask], theirs[mask], atol=1e-4)


@pytest.mark.parity
def test_a_saved_language_model_loads_in_the_reference(tmp_path):
    task, features = kzoo.Generate(tiny.gpt2()), tiny.features(271)
    task.save(tmp_path)
    model = reference.load(tmp_path, "GPT2LMHeadModel")
    mask = features["padding_mask"]
    np.testing.assert_allclose(
        task.model(features).numpy()[mask], reference.ask(model, features)["logits"][mask], atol=1e-4
    )
    assert model.config.eos_token_id == 270


@pytest.mark.parity
@pytest.mark.parametrize("name", ["BertForSequenceClassification", "GPT2ForSequenceClassification"])
def test_a_saved_classifier_loads_in_the_reference(tmp_path, name):
    task = kzoo.Classify(tiny.pretrained(name[:4].lower()), labels=["bad", "so so", "good"])
    task.head.kernel.assign(np.random.default_rng(0).normal(size=(16, 3)))
    task.save(tmp_path)
    features = tiny.features(vocabulary_of(name))
    model = reference.load(tmp_path, name)
    features["token_ids"][~features["padding_mask"]] = model.config.pad_token_id
    np.testing.assert_allclose(task.model(features), reference.ask(model, features)["logits"], atol=1e-4)
    assert model.config.id2label == {0: "bad", 1: "so so", 2: "good"}


@pytest.mark.parity
@pytest.mark.parametrize("name", ["BertForSequenceClassification", "GPT2ForSequenceClassification"])
@pytest.mark.parametrize("labels", [None, {0: "no", 1: "perhaps", 2: "yes"}])
def test_a_published_classifier_answers_as_the_reference(tmp_path, name, labels):
    """From text to scores on both sides, the reference with its own tokenizer."""
    import torch

    options = {"id2label": labels, "label2id": {label: number for number, label in labels.items()}} if labels else {}
    if name.startswith("GPT2"):
        options["pad_token_id"] = 270
    model = reference.make(name, tmp_path, **options)
    tokenizer = reference.transformers().AutoTokenizer.from_pretrained(tmp_path)
    task = load_task(tmp_path)
    answers = task.serve({"text": tf.constant(tiny.TEXTS)})
    names = list((labels or {0: "LABEL_0", 1: "LABEL_1"}).values())
    for row, text in enumerate(tiny.TEXTS):
        with torch.no_grad():
            scores = model(**tokenizer(text, return_tensors="pt")).logits.softmax(-1)[0].numpy()
        np.testing.assert_allclose(answers["scores"][row], scores, atol=1e-4)
        assert answers["label"][row].numpy().decode() == names[int(scores.argmax())]
    assert task.labels == names


@pytest.mark.parity
@pytest.mark.parametrize("name", ["BertForMaskedLM", "BertForPreTraining"])
def test_pretraining_heads_are_left_out(tmp_path, name):
    model = reference.make(name, tmp_path)
    pretrained, features = load_directory(tmp_path), tiny.features(92)
    assert (pretrained.backbone.pooler is None) == (name == "BertForMaskedLM")
    assert pretrained.head == {}
    expected = reference.ask(model.bert, features)["last_hidden_state"]
    mask = features["padding_mask"]
    np.testing.assert_allclose(
        pretrained.backbone(features)["sequence_output"].numpy()[mask], expected[mask], atol=1e-4
    )


@pytest.mark.parity
def test_config_keys_survive(tmp_path):
    reference.make("BertModel", tmp_path / "published")
    save_directory(load_directory(tmp_path / "published"), tmp_path / "saved")
    published, saved = (json.loads((tmp_path / name / "config.json").read_text()) for name in ("published", "saved"))
    assert saved == published


@pytest.mark.parity
def test_llama_needs_nothing_but_rules(tmp_path):
    """The same blocks and the same engine serve another family: rotary, grouped heads, RMS norm, gated, untied."""
    library = reference.transformers()
    import torch

    torch.manual_seed(0)
    model = library.LlamaForCausalLM(
        library.LlamaConfig(
            vocab_size=50,
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=40,
            rms_norm_eps=1e-3,
            rope_parameters={"rope_type": "default", "rope_theta": 100.0},
        )
    ).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
    layer, block = "model.layers.{i}", "blocks/{i}"
    attention, feed_forward = f"{block}/attention", f"{block}/feed_forward"
    rules = [
        Rule("model.embed_tokens.weight", "token_embedding/embeddings"),
        Rule(f"{layer}.self_attn.q_proj.weight", f"{attention}/query/kernel", transpose),
        Rule(f"{layer}.self_attn.k_proj.weight", f"{attention}/key/kernel", transpose),
        Rule(f"{layer}.self_attn.v_proj.weight", f"{attention}/value/kernel", transpose),
        Rule(f"{layer}.self_attn.o_proj.weight", f"{attention}/output_projection/kernel", transpose),
        Rule(f"{layer}.mlp.gate_proj.weight", f"{feed_forward}/gate/kernel", transpose),
        Rule(f"{layer}.mlp.up_proj.weight", f"{feed_forward}/up/kernel", transpose),
        Rule(f"{layer}.mlp.down_proj.weight", f"{feed_forward}/down/kernel", transpose),
        Rule(f"{layer}.input_layernorm.weight", f"{block}/attention_norm/scale"),
        Rule(f"{layer}.post_attention_layernorm.weight", f"{block}/feed_forward_norm/scale"),
        Rule("model.norm.weight", "final_norm/scale"),
        Rule("lm_head.weight", "head/kernel", transpose),
    ]
    decoder = llama(base=100.0, epsilon=1e-3)
    tensors = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    import_tensors(decoder, tensors, rules, num_blocks=2)
    features = tiny.features(50)
    ours = decoder.logits(decoder(features)["sequence_output"]).numpy()
    mask = features["padding_mask"]
    np.testing.assert_allclose(ours[mask], reference.ask(model, features)["logits"][mask], atol=1e-4)
    for name, tensor in export_tensors(decoder, rules, num_blocks=2).items():
        assert same_bits(tensor, tensors[name]), name


def test_models_train_under_a_strategy():
    """Two logical CPU devices stand in for two GPUs; plain Keras fit, made and compiled in the scope."""
    script = """
        import keras, numpy as np, tensorflow as tf
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
        import kzoo
        from tests import tiny
        bert, gpt2 = tiny.bert(num_layers=1), tiny.gpt2(num_layers=1)
        one = {"bert": kzoo.Classify(bert, labels=["a", "b"]), "gpt2": kzoo.Generate(gpt2)}
        strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
        assert strategy.num_replicas_in_sync == 2
        for name, task in one.items():
            with strategy.scope():
                task = task.rebuild()
                task.model.compile(optimizer=keras.optimizers.Adam(0.01),
                                   loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
            tokens = task.tokenize({next(iter(task.inputs)): tf.constant(["a good film", "bad", "it was bad", "good"])})
            features = {key: value.numpy() for key, value in task.pack(tokens, 12).items()}
            targets = np.array([0, 1, 1, 0]) if name == "bert" else np.roll(features["token_ids"], -1, 1)
            assert type(task.model.weights[0].value).__name__ == "MirroredVariable", type(task.model.weights[0].value)
            data = tf.data.Dataset.from_tensor_slices((features, targets)).batch(4).repeat(10)
            alone = one[name].model(features, training=False)
            np.testing.assert_allclose(task.model(features, training=False), alone, atol=1e-5)
            losses = task.model.fit(data, epochs=2, verbose=0).history["loss"]
            assert losses[1] < 0.8 * losses[0], (name, losses)
            print(name, "fell from", losses[0], "to", losses[1])
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "bert fell" in done.stdout and "gpt2 fell" in done.stdout
