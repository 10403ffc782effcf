"""Prompts longer than the model reads, answered part by part."""

import numpy as np
import pytest
import tensorflow as tf

import kzoo
from kzoo.errors import UserError
from kzoo.tasks.long_prompts import split
from tests import tiny

LONG = "The film was good. It was not bad at all! Was it a film? It was, and a good one too. The end was bad."


def parts_of(text, room):
    parts, row = split(tiny.tokenizer("gpt2"), tf.constant([text]), room)
    assert row.numpy().tolist() == [0] * len(parts)
    return [part.decode() for part in parts.numpy()]


@pytest.mark.parametrize("room", [8, 20, 31, 400])
@pytest.mark.parametrize("text", [LONG, "ab" * 90, "Füße 😀 – naïve. " * 6, "", " ", "\n\n" + LONG])
def test_parts_fit_and_joined_are_the_text(text, room):
    parts = parts_of(text, room)
    assert "".join(parts) == text
    lengths = [len(ids) for ids in tiny.tokenizer("gpt2").tokenize(parts).ids.to_list()]
    assert max(lengths) <= room + 3  # a character of several tokens stays whole
    assert len(parts) == 1 or min(lengths) > 0


def test_a_cut_stands_behind_a_sentence_where_one_ends_near():
    parts = parts_of(LONG, 48)
    assert len(parts) > 1
    assert all(part.rstrip()[-1] in ".!?" for part in parts)


def test_texts_are_cut_each_by_itself():
    texts = [LONG, "", "good", LONG[::-1]]
    parts, row = split(tiny.tokenizer("gpt2"), tf.constant(texts), 20)
    for number, text in enumerate(texts):
        assert b"".join(parts.numpy()[row.numpy() == number]).decode() == text
        assert [part.decode() for part in parts.numpy()[row.numpy() == number]] == parts_of(text, 20)


def made(**options):
    pretrained = tiny.talkative(tiny.gpt2(num_layers=1))
    return kzoo.Generate(pretrained, max_length=32, max_new_tokens=5, prompt_template="{prompt} =>", **options)


def test_the_answers_to_parts_are_joined():
    task = made(answers_in_parts=True, parts_joined_by=" / ")
    alone = made()
    texts = ["bad", LONG]
    answers = task.generate(texts)
    assert answers[0] == alone.generate(["bad"])[0]
    parts = parts_of(LONG, task.room_of_prompt)
    assert len(parts) > 2
    assert answers[1] == " / ".join(alone.generate(parts))
    assert task.predict(texts)[1]["text"] == answers[1]
    prompts = tf.constant(texts)
    found = task.writer.function("generate")(prompt=prompts, **task.writer.values())
    single = alone.writer.function("generate")(prompt=tf.constant(parts), **alone.writer.values())
    assert found["count"].numpy()[1] == single["count"].numpy().sum()
    np.testing.assert_allclose(found["log_probability"][1], single["log_probability"].numpy().sum(), rtol=1e-5)
    rows = [
        ids[:count].tolist() for ids, count in zip(single["token_ids"].numpy(), single["count"].numpy(), strict=True)
    ]
    assert found["token_ids"].numpy()[1, : found["count"][1]].tolist() == sum(rows, [])
    assert found["finish_reason"].numpy()[1] == (b"length" if b"length" in single["finish_reason"].numpy() else b"stop")
    assert task.rebuild().answers_in_parts and task.rebuild().parts_joined_by == " / "


def test_each_sequence_is_joined_by_itself():
    task = made(answers_in_parts=True, num_sequences=2, temperature=1.0)
    alone = made(num_sequences=2, temperature=1.0)
    parts = parts_of(LONG, task.room_of_prompt)
    of_parts = alone.generate(parts, batch_size=len(parts))
    assert task.generate([LONG])[0] == [" ".join(one) for one in zip(*of_parts, strict=True)]


def test_what_cannot_be_is_refused():
    with pytest.raises(UserError, match="answers_in_parts joins answers"):
        made(answers_in_parts=True, choices=["a", "b"])
    with pytest.raises(UserError, match="answers_in_parts needs room for 4 tokens"):
        kzoo.Generate(tiny.gpt2(num_layers=1), max_length=8, max_new_tokens=5, answers_in_parts=True)
