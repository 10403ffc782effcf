"""What a request may ask of a text generator, by a tiny one; and that a string may hold a list of texts."""

import numpy as np
import pytest
import tensorflow as tf

import kzoo
from kzoo.errors import UserError
from kzoo.generation.blocked import NOTHING
from kzoo.tasks.knobs import KNOBS, as_lines
from kzoo.tasks.lines import biases, blocked_sequences, lines
from tests import tiny

PROMPTS = ["the film", "", "it was a bad", "good film at"]


@pytest.fixture(scope="module")
def made():
    return tiny.talkative(tiny.gpt2())


@pytest.fixture(scope="module")
def task(made):
    return kzoo.Generate(made, max_length=32, max_new_tokens=12)


@pytest.fixture(scope="module")
def texts(task):
    return task.generate(PROMPTS)


def written(task, prompts, **knobs):
    """All outputs as numpy arrays."""
    values = task.writer.values(**knobs)
    found = task.writer.function("generate")(prompt=tf.constant(prompts), **values)
    return {name: value.numpy() for name, value in found.items()}


def test_lines_of_texts():
    given = ["", "a", "a\nb\n\nc", "x\\ny\r\n\\\\n\\t", "\n"]
    assert lines(tf.constant(given)).numpy().tolist() == [
        [b"", b"", b""],
        [b"a", b"", b""],
        [b"a", b"b", b"c"],
        [b"x\ny", b"\\n\t", b""],
        [b"", b"", b""],
    ]
    assert lines(tf.constant([], tf.string)).shape[0] == 0


@pytest.mark.parametrize("texts", [["\n\n", "end"], ["a\\nb", "\t", "\\"], ["\\\\n\n"], []])
def test_texts_as_lines_come_back(texts):
    assert [one.decode() for one in lines(tf.constant([as_lines(texts)])).numpy()[0] if one] == texts


def test_biases_and_lines_that_are_none():
    found = biases(tf.constant(["5 -2.5\n 17   1e1", "x 3\n7\n8 y\n9 .5 2\n99999999999 1", "3 +4"]))
    ids, values = found.ids.numpy(), found.values.numpy()
    kept = [
        [(int(i), float(v)) for i, v in zip(*row, strict=True) if i != NOTHING] for row in zip(ids, values, strict=True)
    ]
    assert kept == [[(5, -2.5), (17, 10.0)], [], [(3, 4.0)]]


def test_blocked_words_at_the_start_and_behind_a_space(task):
    found = blocked_sequences(task.tokenizer, tf.constant(["film\nbad film", "", "good"]))
    sequences = [{tuple(ids[ids != NOTHING].tolist()) for ids in row} - {()} for row in found.numpy()]
    ids = {
        text: tuple(task.tokenizer.tokenize([text]).ids[0].numpy().tolist()) for text in ("film", "bad film", "good")
    }
    ids |= {f" {text}": tuple(task.tokenizer.tokenize([f" {text}"]).ids[0].numpy().tolist()) for text in ids}
    assert sequences == [
        {ids[one] for one in ("film", " film", "bad film", " bad film")},
        set(),
        {ids["good"], ids[" good"]},
    ]


def test_a_stop_string_ends_a_text_wherever_tokens_divide_it(task, texts):
    text = max(texts, key=len)
    prompt = PROMPTS[texts.index(text)]
    for start in range(1, min(len(text) - 3, 12)):
        stop = text[start : start + 3]
        assert task.generate(prompt, stop=stop.replace("\\", r"\\").replace("\n", r"\n")) == [text[: text.find(stop)]]
        assert task.generate(prompt, stop=["not there", stop]) == [text[: text.find(stop)]]
    found = written(task, [prompt], stop=[text[2:4]])
    assert found["finish_reason"].tolist() == [b"stop"]
    assert found["count"][0] < written(task, [prompt])["count"][0]


def test_stop_strings_are_a_row_s_own(task, texts):
    rows = [as_lines([text[2:5]]) if len(text) > 5 else "" for text in texts]
    knobs = task.writer.values() | {"stop": tf.constant(rows)}
    found = task.writer.function("generate")(prompt=tf.constant(PROMPTS), **knobs)["text"].numpy().tolist()
    for row, text in enumerate(texts):
        assert found[row].decode() == (text[: text.find(text[2:5])] if rows[row] else text)


def test_blocked_words_are_not_written(task, texts):
    ids = written(task, PROMPTS)["token_ids"][0]
    first = task.tokenizer.token_of(int(ids[0]))
    assert task.generate(PROMPTS[0], logit_bias={int(ids[0]): -100})[0] != texts[0]
    word = task.tokenizer.detokenize(ids[None, :1]).numpy()[0].decode()
    if word.strip() and "\ufffd" not in word:
        other = written(task, PROMPTS, blocked_words=[word])
        assert other["token_ids"][0, 0] != ids[0], first


def test_a_large_bias_decides(task):
    id = task.tokenizer.tokenize([" film"]).ids[0].numpy().tolist()[0]
    found = written(task, PROMPTS, logit_bias=f"{id} 1000")
    assert (found["token_ids"] == id).all() and (found["count"] == 12).all()


def test_penalties_change_the_text(task, texts):
    for name, value in (("repetition_penalty", 3.0), ("presence_penalty", 50.0), ("frequency_penalty", 50.0)):
        found = written(task, PROMPTS, **{name: value})["token_ids"]
        assert all(len(set(row)) == len(row) for row in found.tolist()), name
    assert any(len(set(row)) < len(row) for row in written(task, PROMPTS)["token_ids"].tolist())


def test_what_is_said_beside_the_text(task, texts):
    found = written(task, PROMPTS)
    assert [text.decode() for text in found["text"]] == texts
    assert set(found["finish_reason"].tolist()) <= {b"stop", b"length"}
    np.testing.assert_allclose(found["log_probability"], found["log_probabilities"].sum(1), rtol=1e-5)
    id = task.tokenizer.tokenize([" film"]).ids[0].numpy().tolist()[0]
    found = written(task, PROMPTS, logit_bias={id: 1000})  # whose texts are read as the tokens that were written
    for row, one in enumerate(task.score([text.decode() for text in found["text"]], PROMPTS)):
        assert one["count"] == found["count"][row] == 12
        assert one["log_probability"] == pytest.approx(found["log_probability"][row], rel=1e-4)


def test_scores_by_hand_and_alone(task):
    texts, prompts = ["a good film", "bad", "", "the film was at it"], ["the", "", "it", "good film was"]
    found = task.score(texts, prompts)
    for text, prompt, one in zip(texts, prompts, found, strict=True):
        before = task.tokenize({"prompt": tf.constant([prompt])})["token_ids"].numpy()[0].tolist()
        after = task.tokenizer.tokenize([text]).ids[0].numpy().tolist()
        ids = np.array([before + after], "int32")
        log = tf.nn.log_softmax(task.model({"token_ids": ids, "padding_mask": np.ones_like(ids)}))[0].numpy()
        expected = sum(float(log[len(before) - 1 + place, token]) for place, token in enumerate(after))
        assert one["log_probability"] == pytest.approx(expected, abs=1e-4) and one["count"] == len(after)
        assert one["perplexity"] == pytest.approx(np.exp(-expected / max(len(after), 1)), rel=1e-4)
        assert task.score(text, prompt)[0]["log_probability"] == pytest.approx(one["log_probability"], abs=1e-5)


def test_several_sequences_of_a_prompt(made, task):
    several = kzoo.Generate(made, max_length=32, max_new_tokens=12, num_sequences=3, temperature=2.0)
    found = several.generate(PROMPTS, seed=4)
    assert [len(one) for one in found] == [3] * 4 and len({text for one in found for text in one}) > 6
    assert [one[0] for one in found] == task.generate(PROMPTS, seed=4, temperature=2.0)
    assert [answer["text"] for answer in several.predict(PROMPTS[:2])] == several.generate(PROMPTS[:2])
    assert several.options()["num_sequences"] == 3


def test_beams(made, task, texts):
    beams = kzoo.Generate(made, max_length=32, max_new_tokens=12, num_beams=3, length_penalty=0.5)
    signature = beams.signatures()["beam"]
    values = {
        name: tf.constant(value.tolist(), signature.inputs[name].dtype) for name, value in signature.defaults.items()
    }
    found = {name: value.numpy() for name, value in signature.function(prompt=tf.constant(PROMPTS), **values).items()}
    assert found["text"].shape == found["score"].shape == found["count"].shape == (4, 3)
    assert (np.diff(found["score"], axis=1) <= 0).all()
    assert [answer["text"] for answer in beams.predict(PROMPTS)] == [row[0].decode() for row in found["text"]]
    assert beams.generate(PROMPTS) == texts  # which does not search
    assert {"num_beams": 3, "length_penalty": 0.5}.items() <= beams.options().items()


def test_reading_ahead_changes_nothing_but_the_time(made, task):
    """Texts that repeat themselves, one of which a string ends; see ``tests/generation/test_speculation.py``."""
    ahead = kzoo.Generate(made, max_length=32, max_new_tokens=12, speculates=3)
    prompts = ["the film the film the film", "", "bad bad bad bad"]
    usual = written(task, prompts)
    asked = dict(stop=[max(usual["text"], key=len).decode("utf-8", "replace")[2:4]], logit_bias={65: 2.0})
    for knobs in ({}, asked):
        found, expected = written(ahead, prompts, **knobs), written(task, prompts, **knobs)
        for name, value in expected.items():
            compare = np.testing.assert_allclose if value.dtype == np.float32 else np.testing.assert_array_equal
            compare(found[name], value, **({"atol": 1e-4} if value.dtype == np.float32 else {}))
    assert ahead.options()["speculates"] == 3 and "speculates" not in task.options()


def test_defaults_of_the_task_hold_for_requests_that_do_not_say(made, task, texts):
    stop = max(texts, key=len)[1:4]
    own = kzoo.Generate(made, max_length=32, max_new_tokens=12, knobs={"stop": [stop], "repetition_penalty": 1.5})
    expected = task.generate(PROMPTS, stop=[stop], repetition_penalty=1.5)
    assert own.generate(PROMPTS) == expected == [answer["text"] for answer in own.predict(PROMPTS)]
    assert own.signatures()["generate"].defaults["repetition_penalty"].tolist() == [1.5]
    assert type(own)(made, **own.options()).generate(PROMPTS) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(knobs={"stp": "a"}), "generate has no knob stp; it has max_new_tokens, min_new_tokens"),
        (dict(knobs={"seed": 1.5}), "seed must be a whole number. Received 1.5"),
        (dict(knobs={"top_k": 5}), "top_k is an option of its own: top_k=5"),
        (dict(knobs={"min_p": "much"}), "min_p .* must be a number. Received 'much'"),
        (dict(temperature=-1.0), "temperature must not be below 0. Received -1.0"),
        (dict(num_beams=0), "num_beams must be 1 at least. Received 0"),
        (dict(speculates="four"), "speculates is a number of tokens, 0 for none. Received 'four'"),
        (dict(speculates=-1), "speculates is a number of tokens, 0 for none. Received -1"),
        (dict(num_beams=2, num_sequences=2), "give one of them. Received num_sequences=2, num_beams=2"),
    ],
)
def test_mistakes(made, arguments, message):
    with pytest.raises(UserError, match=message):
        kzoo.Generate(made, max_length=32, **arguments)


def test_every_knob_is_told():
    assert all(knob.help for knob in KNOBS.values())
