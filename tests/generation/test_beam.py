"""Beam search against `transformers`' `generate(num_beams=...)`, prompt by prompt, and by its own rules."""

import numpy as np
import pytest
import tensorflow as tf

from kzoo.generation.beam import search
from kzoo.generation.controls import plain
from kzoo.generation.decode import decode
from tests import reference, tiny

PROMPTS = [[7, 8, 9, 10, 11, 12], [200], [30, 31, 32], [90, 91, 92, 93]]


@pytest.fixture(scope="module")
def made():
    return tiny.talkative(tiny.gpt2())


def in_graph(decoder, *, num_beams=3, end_ids=(), early_stopping=False):
    @tf.function(reduce_retracing=True, autograph=False)
    def graph(ids, lengths, limits, penalty, repetition):
        asked = plain(tf.shape(lengths)[0], max_new_tokens=limits, repetition_penalty=repetition)
        return search(
            decoder,
            ids,
            lengths,
            asked,
            num_beams=num_beams,
            length_penalty=penalty,
            end_ids=end_ids,
            early_stopping=early_stopping,
        )

    def run(prompts, limits=10, *, penalty=1.0, repetition=1.0, pad_to=0):
        lengths = [len(prompt) for prompt in prompts]
        width = max([pad_to, *lengths])
        ids = np.array([prompt + [0] * (width - len(prompt)) for prompt in prompts], "int32")
        limits, penalty, repetition = (
            tf.constant(np.broadcast_to(np.array(value, dtype), len(prompts)))
            for value, dtype in ((limits, "int32"), (penalty, "float32"), (repetition, "float32"))
        )
        found = graph(tf.constant(ids), tf.constant(lengths), limits, penalty, repetition)
        run.found = found
        rows = zip(found.token_ids.numpy(), found.counts.numpy(), strict=True)
        return [[ids[:count].tolist() for ids, count in zip(*row, strict=True)] for row in rows]

    return run


def ends_of(made):
    """Tokens that greedy answers hold, to end rows at different places."""
    ids = tf.ragged.constant(PROMPTS, dtype=tf.int32)
    lengths = tf.cast(ids.row_lengths(), tf.int32)
    answers = decode(made.backbone, ids.to_tensor(), lengths, plain(4, max_new_tokens=8)).token_ids.numpy()
    return [int(answers[0, 3]), int(answers[2, 5])]


def test_one_beam_is_greedy(made):
    ids = tf.ragged.constant(PROMPTS, dtype=tf.int32)
    lengths = tf.cast(ids.row_lengths(), tf.int32)
    greedy = decode(made.backbone, ids.to_tensor(), lengths, plain(4, max_new_tokens=[10, 3, 0, 7]))
    beams = in_graph(made.backbone, num_beams=1)(PROMPTS, [10, 3, 0, 7])
    assert [one[0] for one in beams] == [
        row[:count].tolist() for row, count in zip(greedy.token_ids.numpy(), greedy.counts.numpy(), strict=True)
    ]


def test_scores_are_of_what_was_found_and_descend(made):
    end_ids = ends_of(made)
    run = in_graph(made.backbone, end_ids=end_ids)
    answers, scores = run(PROMPTS, penalty=0.7), run.found.scores.numpy()
    assert (np.diff(scores, axis=1) <= 0).all()
    for prompt, row, given in zip(PROMPTS, answers, scores, strict=True):
        assert len({tuple(answer) for answer in row}) == 3
        for answer, score in zip(row, given, strict=True):
            ids = np.array([prompt + answer], "int32")
            states = made.backbone({"token_ids": ids, "padding_mask": np.ones_like(ids)})["sequence_output"]
            log = tf.nn.log_softmax(made.backbone.logits(states))[0].numpy()
            total = sum(log[len(prompt) - 1 + place, token] for place, token in enumerate(answer))
            whole = [total / len(answer) ** 0.7] if len(answer) == 10 else []
            ended = [(total + log[-1, end]) / (len(answer) + 1) ** 0.7 for end in end_ids]
            assert min(abs(score - one) for one in [*whole, *ended]) < 1e-4


def test_a_prompt_depends_on_itself_alone(made):
    run = in_graph(made.backbone, end_ids=ends_of(made))
    settings = dict(penalty=[1.0, 0.0, 2.0, -1.0])
    together = run(PROMPTS, [10, 4, 10, 7], **settings)
    for row, prompt in enumerate(PROMPTS):
        alone = run([prompt], [10, 4, 10, 7][row], penalty=settings["penalty"][row], pad_to=8)
        assert alone == [together[row]]


@pytest.mark.parity
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"length_penalty": 0.0},
        {"length_penalty": 2.0, "num_beams": 4},
        {"length_penalty": -1.0},
        {"early_stopping": True},
        {"repetition_penalty": 1.5, "num_beams": 2},
    ],
)
def test_the_same_beams_as_the_reference(tmp_path, made, settings):
    import torch

    from kzoo.checkpoints.huggingface import save_directory

    save_directory(made, tmp_path, head=made.family.HEADS["generate"])
    model = reference.load(tmp_path, "GPT2LMHeadModel")
    end_ids = ends_of(made)
    model.generation_config.eos_token_id = end_ids
    settings = {"num_beams": 3, "length_penalty": 1.0, "repetition_penalty": 1.0, "early_stopping": False} | settings
    run = in_graph(
        made.backbone,
        num_beams=settings["num_beams"],
        end_ids=end_ids,
        early_stopping=settings["early_stopping"],
    )
    answers = run(PROMPTS, 12, penalty=settings["length_penalty"], repetition=settings["repetition_penalty"])
    scores = run.found.scores.numpy()
    lengths = set()
    for row, prompt in enumerate(PROMPTS):
        with torch.no_grad():
            found = model.generate(
                torch.tensor([prompt]),
                attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
                max_new_tokens=12,
                do_sample=False,
                pad_token_id=0,
                num_return_sequences=settings["num_beams"],
                return_dict_in_generate=True,
                output_scores=True,
                **settings,
            )
        expected = []
        for ids in found.sequences[:, len(prompt) :].tolist():
            ends = [place for place, token in enumerate(ids) if token in end_ids]
            expected.append(ids[: ends[0]] if ends else ids)
        assert answers[row] == expected
        np.testing.assert_allclose(scores[row], found.sequences_scores.numpy(), atol=1e-4)
        lengths |= {len(ids) for ids in expected}
    assert len(lengths) > 1
