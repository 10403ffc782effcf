import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import kzoo
from kzoo import tokenizers
from kzoo.checkpoints.pretrained import fresh
from kzoo.data.batching import Batches
from kzoo.errors import UserError
from kzoo.tasks.knobs import KNOBS
from kzoo.tasks.load import load_task
from tests import tiny

PROMPTS = ["the film was", "a", "good", "it was not", ""]


@pytest.fixture(scope="module")
def task():
    return kzoo.Generate(tiny.talkative(tiny.gpt2(num_layers=1)), max_new_tokens=8)


def served(task, prompts):
    return [text.decode() for text in task.serve({"prompt": tf.constant(prompts)})["text"].numpy()]


def by_hand(task, prompt, number=8):
    """Greedy, the whole text read anew for every token."""
    tokenizer = task.tokenizer
    ids = tokenizer.tokenize([prompt]).ids[0].numpy().tolist() or [270]
    start = len(ids)
    for _ in range(number):
        features = {"token_ids": np.array([ids], "int32"), "padding_mask": np.ones((1, len(ids)), "int32")}
        following = int(np.argmax(task.model(features)[0, -1]))
        if following == 270:
            break
        ids.append(following)
    return tokenizer.detokenize([ids[start:]]).numpy()[0].decode()


def test_the_plain_answer_is_greedy(task):
    answers = task.generate(PROMPTS)
    assert answers == [by_hand(task, prompt) for prompt in PROMPTS]
    assert task.predict(PROMPTS) == [{"text": answer} for answer in answers]
    assert len(set(answers)) > 2


def test_a_row_s_answer_never_depends_on_its_batch(task):
    for knobs in ({}, {"temperature": 1.3, "top_k": 40, "top_p": 0.9, "seed": 11}):
        together = task.generate(PROMPTS, **knobs)
        assert task.generate(PROMPTS[::-1], batch_size=2, **knobs) == together[::-1]
        assert [task.generate(prompt, **knobs)[0] for prompt in PROMPTS] == together


def test_every_knob_is_a_row_s_own(task):
    rows = len(PROMPTS)
    knobs = {
        "max_new_tokens": [8, 3, 0, 8, 5],
        "temperature": [0.0, 1.0, 1.0, 2.0, 1.0],
        "top_k": [0, 5, 0, 20, 0],
        "top_p": [1.0, 1.0, 0.9, 0.8, 0.5],
        "seed": [0, 1, 2, 3, -4],
    }
    tensors = {name: tf.constant(values, KNOBS[name].dtype) for name, values in knobs.items()}
    together = task.writer.function("generate")(prompt=tf.constant(PROMPTS), **task.writer.values() | tensors)
    together = together["text"].numpy().tolist()
    for row in range(rows):
        alone = task.generate(PROMPTS[row], **{name: values[row] for name, values in knobs.items()})
        assert together[row].decode() == alone[0]
    assert together[2] == b""


def test_seeds_make_the_text(task):
    texts = [task.generate("the", temperature=2.0, seed=seed)[0] for seed in (1, 2, 3, 1)]
    assert texts[0] == texts[3] and len(set(texts)) == 3
    assert task.generate("the", temperature=2.0, top_k=1, seed=5) == task.generate("the")


def test_fewer_tokens_on_request(task):
    assert task.generate("the film", max_new_tokens=0) == [""]
    three = task.generate("the film", max_new_tokens=3)[0]
    assert task.generate("the film")[0].startswith(three) and task.generate("the film")[0] != three


def test_knobs_that_cannot_be(task):
    with pytest.raises(UserError, match="generate has no knob temprature; it has max_new_tokens, min_new"):
        task.generate("a", temprature=1.0)
    with pytest.raises(UserError, match="max_new_tokens must not exceed the task's 8. Received 9."):
        task.generate("a", max_new_tokens=9)


def test_a_request_never_gets_more_than_the_task_allows(task):
    asked = tf.constant([1000])
    values = task.writer.values() | {"max_new_tokens": asked}
    assert task.writer.write(tf.constant(["a"]), **values)["text"].numpy()[0].decode() == task.generate("a")[0]


def test_no_prompts(task):
    assert task.predict([]) == [] and task.generate([]) == []
    graph = tf.function(
        lambda prompt: task.serve({"prompt": prompt}), input_signature=[tf.TensorSpec([None], tf.string)]
    )
    assert graph(tf.constant([], tf.string))["text"].shape == (0,)
    assert graph(tf.constant(PROMPTS))["text"].numpy().tolist() == [text.encode() for text in task.generate(PROMPTS)]
    knobs = {name: tf.constant([], knob.dtype) for name, knob in KNOBS.items()}
    found = task.writer.function("generate")(prompt=tf.constant([], tf.string), **knobs)
    assert {name: value.shape[0] for name, value in found.items()} == dict.fromkeys(found, 0)


def test_of_a_long_prompt_the_end_is_kept(task):
    assert task.max_length == 32
    long = "bad " * 100 + "the film was good"
    tokens = task.tokenize({"prompt": tf.constant([long])})["token_ids"]
    whole = task.tokenizer.tokenize([long]).ids
    assert tokens.to_list() == [whole[0].numpy()[-24:].tolist()]
    assert task.generate(long) == [by_hand(task, task.tokenizer.detokenize(tokens).numpy()[0].decode())]
    assert isinstance(task.generate("x" * 100_000)[0], str)


def test_what_comes_out_is_utf8_whatever_goes_in(task):
    texts = task.generate([b"\xff\xfe", "\ud83d", "北京"], temperature=5.0, seed=3)
    assert all(isinstance(text, str) for text in texts)
    raw = task.serve({"prompt": tf.constant([b"\xff\xfe"])})["text"].numpy()[0]
    raw.decode("utf-8")


def test_the_end_token_ends_the_text():
    pretrained = tiny.gpt2(num_layers=1)
    pretrained.backbone.final_norm.scale.assign(np.zeros(16))  # the same scores everywhere ...
    vectors = pretrained.backbone.token_embedding.embeddings
    pretrained.backbone.final_norm.bias.assign(100 * vectors[270])  # ... and the end token's the best
    lengths = np.linalg.norm(vectors.numpy(), axis=1, keepdims=True)
    vectors.assign(vectors.numpy() / lengths)
    assert served(kzoo.Generate(pretrained), PROMPTS) == [""] * 5


def test_signatures_and_their_defaults():
    task = kzoo.Generate(tiny.gpt2(num_layers=1), max_new_tokens=5, temperature=0.5, top_k=3, top_p=0.75)
    signatures = task.signatures()
    assert list(signatures) == ["serving_default", "generate", "generate_tokens", "score"]
    assert list(signatures["serving_default"].inputs) == ["prompt"] and not signatures["serving_default"].defaults
    for name in ("generate", "generate_tokens"):
        full = signatures[name]
        assert list(full.inputs) == ["prompt", *KNOBS] and list(full.defaults) == list(KNOBS)
        assert all(spec.shape.as_list() == [None] for spec in full.inputs.values())
        assert [spec.dtype for spec in full.inputs.values()] == [tf.string, *(knob.dtype for knob in KNOBS.values())]
        own = {"max_new_tokens": 5, "temperature": 0.5, "top_k": 3, "top_p": 0.75}
        expected = {name: [own.get(name, knob.neutral)] for name, knob in KNOBS.items()}
        assert {name: value.tolist() for name, value in full.defaults.items()} == expected
    assert signatures["score"].defaults["prompt"].tolist() == [""]


def test_documents_end_with_the_end_token_and_predict_their_next_token(task):
    tokens = task.tokenize({"text": tf.constant(["a good film", ""])})
    words = task.tokenizer.tokenize(["a good film"]).ids[0].numpy().tolist()
    assert tokens["token_ids"].to_list() == [[*words, 270], [270]]
    targets, weights = task.targets({}, tokens)
    assert targets.to_list() == [[*words[1:], 270, 0], [0]]
    assert weights.to_list() == [[1.0] * len(words) + [0.0], [0.0]]


def test_by_choice_documents_and_prompts_begin_with_the_end_token():
    task = kzoo.Generate(tiny.gpt2(num_layers=1), max_new_tokens=8, begins_with_end_token=True)
    texts = ["a good film", "", "<|endoftext|>a good film"]
    words = task.tokenizer.tokenize(["a good film"]).ids[0].numpy().tolist()
    documents = task.tokenize({"text": tf.constant(texts)})["token_ids"].to_list()
    assert documents == [[270, *words, 270], [270, 270], [270, *words, 270]]
    prompts = task.tokenize({"prompt": tf.constant([*texts, "bad " * 40])})["token_ids"].to_list()
    assert prompts[:3] == [[270, *words], [270], [270, *words]]
    assert len(prompts[3]) == 24 and prompts[3][0] == 270
    found = []
    for features, targets, weights in Batches(task, {"text": texts}, batch_size=1, training=False).dataset():
        for ids, row, weight in zip(features["token_ids"].numpy(), targets.numpy(), weights.numpy(), strict=True):
            found += [(one, after) for one, after, real in zip(ids, row, weight, strict=True) if real]
    pairs = [pair for ids in documents for pair in zip(ids[:-1], ids[1:], strict=True)]
    assert sorted(found) == sorted(pairs)
    assert task.rebuild().begins_with_end_token
    assert kzoo.Generate(task.pretrained, begins_with_end_token=True, crosses_documents=True).start_ids == (270,)


def test_documents_and_prompts_begin_as_the_tokenizer_s_template_says(tmp_path):
    tiny.write_gpt2_tokenizer(tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text()) | {"add_bos_token": True}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    tokenizer = tokenizers.load(tmp_path)
    task = kzoo.Generate(fresh("gpt2", tokenizer, **tiny.FIGURES), max_length=16, max_new_tokens=8)
    words = tokenizer.tokenize(["a good film"]).ids[0].numpy().tolist()
    documents = task.tokenize({"text": tf.constant(["a good film", "", "<|endoftext|>a good film"])})["token_ids"]
    assert documents.to_list() == [[270, *words, 270], [270, 270], [270, *words, 270]]
    prompts = task.tokenize({"prompt": tf.constant(["a good film", "", "bad " * 40 + "a good film"])})["token_ids"]
    assert prompts.to_list()[:2] == [[270, *words], [270]]
    assert len(prompts[2]) == 8 and prompts[2].numpy().tolist()[0] == 270
    assert task.tokenizer.detokenize(prompts).numpy()[2].endswith(b"bad a good film")


@pytest.mark.parametrize("begins", [False, True])
def test_plain_keras_fit_learns_a_text(begins):
    keras.utils.set_random_seed(0)
    task = kzoo.Generate(tiny.gpt2(num_layers=1), max_new_tokens=12, begins_with_end_token=begins)
    tokens = task.tokenize({"text": tf.constant(["the film was good", "a bad film"])})
    targets, weights = (value.to_tensor(shape=[None, 24]) for value in task.targets({}, tokens))
    data = tf.data.Dataset.from_tensors((task.pack(tokens, 24), targets, weights))
    task.model.compile(
        keras.optimizers.Adam(0.01), loss=task.loss(), weighted_metrics=task.metrics(), jit_compile=False
    )
    history = task.model.fit(data.repeat(30), epochs=2, verbose=0).history
    assert history["accuracy"][1] > (0.8 if begins else 0.9) > history["accuracy"][0]  # of two beginnings one is wrong
    assert served(task, ["the film", "a"]) == [" was good", " bad film"]
    assert not begins or served(task, [""])[0] in ("the film was good", "a bad film")


def test_saved_and_loaded(task, tmp_path):
    task.save(tmp_path)
    loaded = load_task(tmp_path)
    assert isinstance(loaded, kzoo.Generate) and loaded.options() == task.options()
    assert served(loaded, PROMPTS) == task.generate(PROMPTS)
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == ["GPT2LMHeadModel"]


def test_rebuilt(task):
    assert served(task.rebuild(), PROMPTS) == task.generate(PROMPTS)


def test_a_seed_set_after_loading_leaves_the_tokenizer_alone(task):
    """``set_random_seed`` empties TensorFlow's cache of kernels, and with it what belongs to a kernel."""
    before = task.tokenizer.tokenize(["the film zq"]).ids.to_list()
    keras.utils.set_random_seed(3)
    assert task.tokenizer.tokenize(["the film zq"]).ids.to_list() == before


def test_only_a_decoder_generates():
    with pytest.raises(UserError, match="generate needs a GPT-style model. fresh bert is bert."):
        kzoo.Generate(tiny.bert())


@pytest.mark.parametrize("number", [-1, 32, 100])
def test_new_tokens_must_fit(number):
    with pytest.raises(UserError, match="max_new_tokens must lie between 1 and max_length - 1. Received"):
        kzoo.Generate(tiny.gpt2(), max_new_tokens=number)
