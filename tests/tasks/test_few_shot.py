"""Labels by a language model that is shown demonstrations; what is shown, what fits, what is saved."""

import numpy as np
import pytest
import tensorflow as tf

import kzoo
from kzoo import Embed, FewShot
from kzoo.errors import UserError
from kzoo.tasks.demonstrations import TokenOverlap, diverse, drawn, most_alike
from tests import tiny

POOL = [
    {"text": "a good film", "label": "positive"},
    {"text": "bad", "label": "negative"},
    {"text": "the film was not good at all", "label": "negative"},
    {"text": "it was good", "label": "positive"},
    {"text": "a bad, bad film!", "label": "negative"},
    {"text": "all good", "label": "positive"},
]
TEXTS = ["a good, good film", "not good", "", "bad film"]
TEMPLATE = "R: {text}\nS: {label}"
FIGURES = {"num_positions": 200}


@pytest.fixture(scope="module")
def decoder():
    return tiny.talkative(tiny.gpt2(**FIGURES))


@pytest.fixture(scope="module")
def embedder():
    return Embed(tiny.bert())


def made(decoder, **options):
    return FewShot(decoder, **{"pool": POOL, "template": TEMPLATE, "separator": "\n", "max_length": 200, **options})


def prompts(task, texts):
    """What is read before the answer, as text."""
    tokens = task.tokenize({"text": tf.constant(texts)})
    own = tokens["token_ids"].to_list()
    rows = [[*task._prefix_ids[:seen].tolist(), *ids] for seen, ids in zip(tokens["seen"].numpy(), own, strict=True)]
    return [text.decode() for text in task.tokenizer.detokenize(tf.ragged.constant(rows, tf.int32)).numpy()]


def shown(text, label=None):
    return f"R: {text}\nS:" + ("" if label is None else f" {label}\n")


def test_the_prompt_is_instruction_demonstrations_and_text(decoder):
    task = made(decoder, pool=POOL[:2], choose="fixed", instruction="Say it.", words={"negative": "no"})
    expected = "Say it.\n" + shown("a good film", "positive") + shown("bad", "no")
    assert prompts(task, TEXTS) == [expected + shown(text) for text in TEXTS]
    assert prompts(made(decoder, shots=0), ["bad"]) == [shown("bad")]


def test_the_most_alike_stands_next_to_the_text(decoder, embedder):
    for options in ({}, {"embedder": embedder}):
        (found,) = prompts(made(decoder, shots=6, **options), ["a bad, bad film!"])
        assert found.endswith(shown("a bad, bad film!", "negative") + shown("a bad, bad film!"))
        assert all(shown(row["text"], row["label"]) in found for row in POOL)


def test_what_does_not_fit_is_left_out_from_the_least_alike_on_and_never_the_text(decoder):
    whole = made(decoder, shots=6)
    (full,) = prompts(whole, ["not good"])
    parts = full.split("R: ")[1:]
    need = len(whole.tokenizer.tokenize([full]).ids[0]) + whole._reserved
    for less, kept in ((0, 6), (1, 5), (60, None)):
        (found,) = prompts(made(decoder, shots=6, max_length=need - less), ["not good"])
        assert found.endswith(shown("not good"))
        assert full.endswith(found)
        assert kept is None or found.split("R: ")[1:] == parts[6 - kept :]
    fixed = made(decoder, choose="fixed", max_length=70)
    tokens = fixed.tokenize({"text": tf.constant(["bad", "a bad film " * 30])})
    lengths = tokens["seen"].numpy() + tokens["token_ids"].row_lengths().numpy() + fixed._reserved
    assert (lengths <= 70).all() and tokens["seen"].numpy()[0] > tokens["seen"].numpy()[1] == 0
    assert prompts(fixed, ["a bad film " * 30])[0].startswith("R: a bad film")
    assert prompts(fixed, ["a bad film " * 30])[0].endswith("\nS:")


def log_probability(decoder, before, text):
    ids, whole = (decoder.tokenizer.tokenize([one]).ids.to_list()[0] for one in (before, before + text))
    given = np.array([whole], np.int32)
    features = {"token_ids": given, "padding_mask": np.ones_like(given)}
    table = tf.nn.log_softmax(decoder.backbone.logits(decoder.backbone(features)["sequence_output"]))[0].numpy()
    return sum(table[place - 1, whole[place]] for place in range(len(ids), len(whole)))


@pytest.mark.parametrize(
    "options",
    [{"choose": "fixed"}, {"shots": 3}, {"shots": 2, "content_free": "N/A"}, {"length_normalization": True}],
)
def test_scores_are_the_probabilities_of_the_words_behind_the_prompt(decoder, options):
    task = made(decoder, words={"positive": "all good", "negative": "bad"}, **options)
    answers = task.predict(TEXTS)
    for text, prompt, answer in zip(TEXTS, prompts(task, TEXTS), answers, strict=True):
        logits = []
        for words in (" bad", " all good"):
            score = log_probability(decoder, prompt, words)
            if task.content_free is not None:
                free = prompt[: len(prompt) - len(shown(text))] + shown(task.content_free)
                score -= log_probability(decoder, free, words)
            count = len(decoder.tokenizer.tokenize([words]).ids[0])
            logits.append(score / count if task.length_normalization else score)
        expected = np.exp(logits) / np.exp(logits).sum()
        np.testing.assert_allclose(answer["scores"], expected, atol=2e-4)
        assert answer["label"] == ["negative", "positive"][int(expected.argmax())]
        assert answer["classes"] == ["negative", "positive"]


def test_free_text_comes_up_to_its_stop(decoder):
    task = made(decoder, choose="fixed", free_text=True, max_new_tokens=6)
    generate = kzoo.Generate(decoder, max_length=200, max_new_tokens=6, knobs={"stop": ["\n"]})
    expected = generate.generate(prompts(task, TEXTS))
    assert [answer["text"] for answer in task.predict(TEXTS)] == [text.strip() for text in expected]


def test_it_may_abstain(decoder):
    answers = made(decoder, shots=2).predict(TEXTS)
    edge = sorted(max(answer["scores"]) for answer in answers)[2]
    sure = made(decoder, shots=2, abstain_below=edge, abstain_label="?").predict(TEXTS)
    for answer, other in zip(answers, sure, strict=True):
        assert other["scores"] == answer["scores"]
        assert other["label"] == (answer["label"] if max(answer["scores"]) >= edge else "?")
    assert {"?"} < {answer["label"] for answer in sure}


def test_it_is_saved_measured_and_loaded(decoder, embedder, tmp_path):
    task = made(decoder, content_free="N/A", embedder=embedder, shots=2)
    loaded = kzoo.load_task(task.save(tmp_path / "alike"), abstain_below=0.99)
    answers = loaded.predict([row["text"] for row in POOL])
    np.testing.assert_array_equal(
        [answer["scores"] for answer in answers],
        [answer["scores"] for answer in task.predict([row["text"] for row in POOL])],
    )
    examples = kzoo.data.Examples({key: [row[key] for row in POOL] for key in ("text", "label")})
    figures = kzoo.judge(loaded, examples).figures
    best = [loaded.labels[int(np.argmax(answer["scores"]))] for answer in answers]
    assert figures["accuracy"] == pytest.approx(
        np.mean([one == row["label"] for one, row in zip(best, POOL, strict=True)])
    )
    assert figures["coverage"] == pytest.approx(np.mean([answer["label"] != "" for answer in answers]))


def test_of_what_is_drawn_the_demonstrations_alone_are_saved(decoder, embedder, tmp_path):
    task = made(decoder, choose="diverse", shots=3, embedder=embedder)
    loaded = kzoo.load_task(task.save(tmp_path / "drawn"))
    assert loaded.pool == task.pool and len(loaded.pool) == 3
    assert prompts(loaded, ["bad"]) == prompts(task, ["bad"])
    assert not (tmp_path / "drawn" / "embedder").exists()
    with pytest.raises(UserError, match="may be set anew: abstain_below, abstain_label"):
        kzoo.load_task(tmp_path / "drawn", shots=2)


@pytest.mark.slow
def test_an_export_has_everything_inside(decoder, embedder, tmp_path):
    task = made(decoder, shots=2, embedder=embedder, content_free="N/A", pool=POOL * 3)
    path = kzoo.export(task, tmp_path / "export", warm_up=None)
    loaded = tf.saved_model.load(str(path))
    served = loaded.signatures["serving_default"](text=tf.constant(TEXTS))
    expected = task.predict(TEXTS)
    assert [label.decode() for label in served["label"].numpy()] == [answer["label"] for answer in expected]
    np.testing.assert_allclose(served["scores"], [answer["scores"] for answer in expected], atol=1e-5)


def test_choices_of_demonstrations():
    labels = [row["label"] for row in POOL]
    found = drawn(labels, 4, seed=1, balanced=True)
    assert sorted(labels[row] for row in found) == ["negative"] * 2 + ["positive"] * 2
    assert found == drawn(labels, 4, seed=1, balanced=True) != drawn(labels, 4, seed=2, balanced=True)
    corners = np.repeat(np.eye(3, dtype=np.float32), [6, 3, 1], axis=0)
    assert sorted(diverse(corners, ["a"] * 10, 3, seed=0, balanced=False)) == [0, 6, 9]
    likeness = tf.constant([[0.9, 0.1, 0.2, 0.8, 0.7, 0.6]])
    numbers = np.array([0, 1, 1, 0, 1, 0])
    assert most_alike(likeness, numbers, 3, balanced=False).numpy().tolist() == [[0, 3, 4]]
    assert most_alike(likeness, numbers, 4, balanced=True).numpy().tolist() == [[0, 3, 4, 2]]


def test_token_overlap_is_bm25():
    tokenizer = tiny.tokenizer("gpt2")
    texts = [row["text"] for row in POOL]
    ids = [tokenizer.tokenize([f" {text}"]).ids.to_list()[0] for text in texts]
    asked = set(tokenizer.tokenize([" the bad film"]).ids.to_list()[0])
    mean = np.mean([len(one) for one in ids])
    found = TokenOverlap(tokenizer, texts)(tf.constant(["THE bad film"])).numpy()[0]
    for row, one in enumerate(ids):
        expected = 0.0
        for token in asked:
            count, holders = one.count(token), sum(token in other for other in ids)
            rarity = np.log1p((len(ids) - holders + 0.5) / (holders + 0.5))
            expected += rarity * count * 2.2 / (count + 1.2 * (0.25 + 0.75 * len(one) / mean))
        assert found[row] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"choose": "best"}, "choose must be one of"),
        ({"template": "{label}: {text}"}, "{text} before {label}"),
        ({"template": "{text}"}, "once each"),
        ({"pool": [{"text": "a"}]}, "has a text and a label"),
        ({"pool": []}, "needs a pool"),
        ({"labels": ["positive", "neutral"]}, "which labels does not name"),
        ({"words": {"neutral": "so so"}}, "words names neutral"),
        ({"max_length": 8}, "leaves no room"),
        ({"max_length": 16}, "No demonstration fits"),
        ({"template": "{text} is{label}"}, "joins"),
        ({"abstain_below": 2}, "abstain_below"),
    ],
)
def test_what_cannot_be(decoder, options, message):
    if "is{label}" in options.get("template", ""):
        options = options | {"words": {"positive": " t", "negative": "he"}, "template": "{text} t{label}"}
    with pytest.raises(UserError, match=message):
        made(decoder, **options)


def test_an_encoder_cannot():
    with pytest.raises(UserError, match="needs a GPT-style model"):
        FewShot(tiny.bert(), pool=POOL)
