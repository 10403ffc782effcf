"""Prompts with answers: framed as a request is, learned in the answers only, in rows of their own or several in one."""

import numpy as np
import pytest
import tensorflow as tf

import kzoo
from kzoo.data.batching import Batches
from kzoo.data.examples import Examples
from kzoo.errors import UserError
from tests import tiny

PROMPTS = ["the film was", "it was a bad, bad film!", "good", "a good film " * 9, "not"]
ANSWERS = ["good", "not at all", "bad " * 30, "it was good", "a film"]
PAIRS = {"prompt": PROMPTS, "answer": ANSWERS}
TEMPLATE = "Say of {prompt}\n- "


def make(family="gpt2", **options):
    figures = {"llama": {"num_key_value_heads": 2}, "mistral": {"num_key_value_heads": 2, "windows": (8, 8)}}
    made = tiny.pretrained(family, **figures.get(family, {}))
    return kzoo.Generate(made, **{"max_length": 32, "max_new_tokens": 8} | options)


def learned_of(features, targets, weights):
    """Of each document of each row: its ids, and those that are predicted, with the place before each."""
    found = []
    for row, numbers in enumerate(features["document_ids"].numpy()):
        for number in sorted(set(numbers.tolist()) - {0}):
            place = np.flatnonzero(numbers == number)
            ids = features["token_ids"].numpy()[row, place].tolist()
            weight, target = weights.numpy()[row, place], targets.numpy()[row, place]
            predicted = [(at + 1, int(token)) for at, token in enumerate(target) if weight[at]]
            found.append((ids, predicted))
    return found


@pytest.mark.parametrize("options", [{}, {"prompt_template": TEMPLATE}, {"packs_rows": True}])
def test_a_row_is_the_prompt_as_it_is_asked_and_only_the_answer_is_learned(options):
    task = make(**options)
    batches = Batches(task, PAIRS, batch_size=2, training=True)
    rows = sorted(one for batch in batches.dataset() for one in learned_of(*batch) if one[1])  # others fill a batch
    expected = []
    prompts = task.tokenize({"prompt": tf.constant(PROMPTS)})["token_ids"].to_list()
    for prompt, answer in zip(prompts, task.tokenizer.tokenize(ANSWERS).ids.to_list(), strict=True):
        ids = (prompt + answer + [270])[:32]
        expected.append((ids, [(place, ids[place]) for place in range(len(prompt), len(ids))]))
    assert rows == sorted(expected)
    assert len(prompts[3]) == 24 and any(len(ids) == 32 and ids[-1] != 270 for ids, _ in expected), "both are cut"
    if options.get("packs_rows"):
        assert len(batches.row_lengths) < len(PROMPTS) and batches.lengths == (32,)
    else:
        assert batches.example_of_row.tolist() == list(range(5)) and len(batches.lengths) > 1


def test_tokens_by_hand_weigh_the_same():
    task = make(prompt_template=TEMPLATE)
    tokens = task.tokenize({name: tf.constant(values) for name, values in PAIRS.items()})
    targets, weights = task.targets({}, tokens)
    for ids, learned, target, weight in zip(
        *(one.to_list() for one in (tokens["token_ids"], tokens["learned"], targets, weights)), strict=True
    ):
        assert target == [*ids[1:], 0] and weight == [*map(float, learned[1:]), 0.0]
        assert sum(learned) and learned == sorted(learned)


@pytest.mark.parametrize("family", ["gpt2", "llama", "mistral"])
@pytest.mark.parametrize("prefix_attention", [False, True])
def test_packed_answers_lose_what_they_lose_alone(family, prefix_attention):
    options = {"prefix_attention": prefix_attention, "prompt_template": TEMPLATE}
    alone = kzoo.evaluate(make(family, **options), PAIRS, batch_size=2)
    together = kzoo.evaluate(make(family, packs_rows=True, **options), PAIRS, batch_size=2)
    assert alone["tokens"] == together["tokens"]
    assert together["loss"] == pytest.approx(alone["loss"], rel=1e-5)
    assert alone["loss"] != pytest.approx(
        kzoo.evaluate(make(family, prompt_template=TEMPLATE, prefix_attention=not prefix_attention), PAIRS)["loss"]
    )


@pytest.mark.parametrize("family", ["gpt2", "mistral"])
def test_a_prompt_is_seen_as_a_whole_in_training_and_in_requests(family):
    task = make(family, prefix_attention=True)
    tokens = task.tokenize({"prompt": tf.constant(PROMPTS[:2]), "answer": tf.constant(["good", "bad film"])})
    features = task.pack(tokens, 24)
    lengths = task.tokenize({"prompt": tf.constant(PROMPTS[:2])})["token_ids"].row_lengths().numpy()
    assert features["prefix_mask"].numpy().sum(1).tolist() == lengths.tolist()
    first = [int(np.argmax(logits[size - 1])) for logits, size in zip(task.model(features), lengths, strict=True)]
    answers = task.generate(PROMPTS[:2], max_new_tokens=1)
    assert answers == [task.tokenizer.detokenize([[] if one == 270 else [one]]).numpy()[0].decode() for one in first]
    other = {name: value for name, value in features.items() if name != "prefix_mask"}
    assert np.abs(task.model(features)[0, 0] - task.model(other)[0, 0]).max() > 1e-3
    assert task.generate(PROMPTS, batch_size=5) == [task.generate(prompt)[0] for prompt in PROMPTS]


def test_of_a_long_prompt_the_side_that_is_said_is_cut_and_never_the_template():
    long = "bad " * 30 + "good " * 30
    texts = []
    for cut in ("start", "end"):
        task = make(prompt_template=TEMPLATE, prompt_cut=cut)
        ids = task.tokenize({"prompt": tf.constant([long, "é" * 90, ""])})["token_ids"]
        assert ids.row_lengths().numpy().tolist()[:2] == [24, 24]
        texts.append([text.decode("utf-8", "replace") for text in task.tokenizer.detokenize(ids).numpy()])
        assert task.rebuild().prompt_cut == cut
    for text in sum(texts, []):
        assert text.startswith("Say of ") and text.endswith("\n- ")
    assert "good" in texts[0][0] and "bad" not in texts[0][0] and "bad" in texts[1][0] and "good" not in texts[1][0]


def test_what_is_trained_is_saved_and_answers_with_the_template(tmp_path):
    task = make(prompt_template="{prompt} means ", max_new_tokens=4)
    examples = {"prompt": ["the", "a", "it"] * 64, "answer": ["good", "bad", "not"] * 64}
    kzoo.fit(task, examples, epochs=3, batch_size=8, learning_rate=0.01, say=lambda text: None, **quiet())
    assert task.generate(["the", "a", "it"]) == ["good", "bad", "not"]
    task.save(tmp_path)
    again = kzoo.load_task(tmp_path)
    assert again.options() == task.options() and again.generate(["a", "the"]) == ["bad", "good"]


def quiet():
    return {"logging": {"progress": "none"}, "schedule": "constant"}


def test_keras_fit_and_adapters_learn_answers():
    task = make(prompt_template="{prompt}: ", packs_rows=True)
    kzoo.lora.add(task, rank=4, targets="all")
    before = {weight.path: weight.numpy() for weight in task.model.weights}
    examples = {"prompt": ["the film", "a film"] * 4, "answer": ["good", "bad"] * 4}
    task.model.compile("adam", loss=task.loss(), weighted_metrics=task.metrics(), jit_compile=False)
    data = kzoo.data.batches(task, examples, batch_size=2, training=True)
    losses = [task.model.fit(data.repeat(10), verbose=0).history["loss"][0] for _ in range(2)]
    assert losses[1] < losses[0]
    changed = {path for path, value in before.items() if np.abs(dict_of(task)[path] - value).max() > 0}
    assert changed and all("lora" in path or "adapter" in path for path in changed)


def dict_of(task):
    return {weight.path: weight.numpy() for weight in task.model.weights}


def test_pairs_without_an_answer_are_left_out_and_counted():
    task = make()
    said = []
    examples = {"prompt": ["a", "b", "c", ""], "answer": ["good", " ", "", "bad"]}
    batches = Batches(task, examples, batch_size=2, training=True)
    assert batches.left_out == {"without an answer": 2} and batches.example_of_row.tolist() == [0, 3]
    kzoo.fit(task, examples, steps=1, batch_size=2, say=said.append, **quiet())
    assert any("2 examples without an answer" in line for line in said)
    with pytest.raises(UserError, match="nothing to learn from in the examples: 2 examples without an answer"):
        Batches(task, {"prompt": ["a", "b"], "answer": ["", " "]}, batch_size=2, training=True)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"prompt_template": "Answer:"}, "prompt_template must hold {prompt} once.* Received 'Answer:'"),
        ({"prompt_template": "{prompt} {prompt}"}, "must hold {prompt} once"),
        ({"prompt_cut": "middle"}, "prompt_cut must be start or end. Received 'middle'"),
        ({"prompt_template": "x" * 40 + "{prompt}"}, "The prompt template writes 40 tokens around a text"),
    ],
)
def test_options_that_cannot_be(options, said):
    with pytest.raises(UserError, match=said):
        make(**options)


def test_examples_that_cannot_be():
    for columns, said in (
        ({"question": ["a"], "reply": ["b"]}, "none of them: question, reply. Say which columns are meant"),
        ({"prompt": ["a"], "answer": ["b"], "text": ["c"]}, "two kinds of examples"),
        ({"prompt": ["a"], "answer": [3]}, "answer of the examples must hold texts. Row 1 holds 3"),
        ({"messages": [[{"role": "user", "content": "a"}]]}, "give the task chat=True"),
    ):
        with pytest.raises(UserError, match=said):
            Batches(make(), Examples(columns), batch_size=1, training=True)
    with pytest.raises(UserError, match="crosses_documents is for running text"):
        Batches(make(crosses_documents=True), PAIRS, batch_size=1, training=True)
