import numpy as np
import pytest
import tensorflow as tf

from kzoo.generation.controls import plain
from kzoo.generation.decode import decode
from tests import reference, tiny

PROMPTS = [[7, 8, 9, 10, 11, 12], [200], [30, 31, 32], [90, 91, 92, 93]]
GREEDY, WARM = 0.0, 1.5


def in_graph(decoder, *, copies=1, **knobs):
    """The loop in a graph of unknown sizes, as it is served; traced once."""
    vector = tf.TensorSpec([None], tf.int32)

    @tf.function(
        input_signature=[tf.TensorSpec([None, None], tf.int32), vector, vector, vector]
        + [tf.TensorSpec([], tf.float32), tf.TensorSpec([], tf.int32)],
        autograph=False,
    )
    def graph(ids, lengths, limits, seed, temperature, end_id):
        warm = dict(temperature=temperature, top_k=50, top_p=0.95, seed=seed)
        asked = plain(tf.shape(seed)[0], max_new_tokens=limits, **(warm | knobs))
        return decode(decoder, ids, lengths, asked, end_ids=[end_id], copies=copies)

    def run(prompts, limits=10, *, seeds=0, temperature=GREEDY, end_id=-1, pad_to=0):
        """Lists of ids in, lists of ids out."""
        lengths = [len(prompt) for prompt in prompts]
        width = max([pad_to, *lengths])
        ids = np.array([prompt + [0] * (width - len(prompt)) for prompt in prompts], "int32")
        limits, seeds = (np.broadcast_to(np.array(value, "int32"), len(prompts)) for value in (limits, seeds))
        found = graph(ids, np.array(lengths, "int32"), limits, seeds, temperature, end_id)
        new_ids, counts = found.token_ids, found.counts
        run.found = found
        assert new_ids.shape == (len(prompts) * copies, max([*limits, 0])) and new_ids.dtype == tf.int32
        for row, count in zip(new_ids.numpy(), counts.numpy(), strict=True):
            assert not row[count:].any()  # what does not count is zero
        return [row[:count].tolist() for row, count in zip(new_ids.numpy(), counts.numpy(), strict=True)]

    return run


@pytest.fixture(scope="module")
def decoder():
    return tiny.talkative(tiny.gpt2()).backbone


@pytest.fixture(scope="module")
def run(decoder):
    return in_graph(decoder)


def only_in_the_first(answers) -> int:
    """A token that only the first row says."""
    others = {token for answer in answers[1:] for token in answer}
    return next(token for token in answers[0] if token not in others)


def test_as_many_tokens_as_asked_for_each_row(run):
    answers = run(PROMPTS, 10)
    assert [len(answer) for answer in answers] == [10] * 4
    limits = [3, 0, 10, 1]
    assert run(PROMPTS, limits) == [answer[:limit] for answer, limit in zip(answers, limits, strict=True)]


@pytest.mark.parametrize("limits", [0, -3, [0, 0, -1, 0]])
def test_no_tokens_at_all(run, limits):
    assert run(PROMPTS, limits) == [[]] * 4


def test_the_end_token_ends_a_row_and_no_other(run):
    answers = run(PROMPTS)
    end = only_in_the_first(answers)
    stopped = run(PROMPTS, end_id=end)
    assert stopped[0] == answers[0][: answers[0].index(end)] != answers[0]
    assert stopped[1:] == answers[1:]


def test_the_end_token_may_come_first(run):
    answers = run(PROMPTS)
    assert run(PROMPTS[1:2], end_id=answers[1][0]) == [[]]


@pytest.mark.parametrize("temperature", [GREEDY, WARM])
def test_a_row_depends_on_itself_alone(run, temperature):
    """Alone, among others, in another order, padded further: the same tokens."""
    seeds = [3, 3, 4, -5]
    together = run(PROMPTS, seeds=seeds, temperature=temperature)
    assert len({tuple(answer) for answer in together}) == 4
    order = [2, 0, 3, 1]
    shuffled = run([PROMPTS[row] for row in order], seeds=[seeds[row] for row in order], temperature=temperature)
    assert shuffled == [together[row] for row in order]
    for row in range(4):
        options = dict(seeds=[seeds[row]], temperature=temperature)
        assert run([PROMPTS[row]], **options) == [together[row]]
        assert run([PROMPTS[row]], pad_to=9, **options) == [together[row]]
        assert run([PROMPTS[row]], 4, **options) == [together[row][:4]]


def test_seeds_make_the_text(run):
    answers = run([PROMPTS[0]] * 6, seeds=[1, 2, 3, 4, 5, 1], temperature=WARM)
    assert answers[0] == answers[5] and len({tuple(answer) for answer in answers}) == 5


def test_the_loop_ends_with_the_last_row(decoder, run):
    """A variable counts how often the loop chooses."""
    counter = tf.Variable(0)

    def is_over(tokens, count, stops):
        counter.assign_add(1)
        return tf.zeros([4], tf.bool)

    def loop(limits, end_id):
        ids = tf.ragged.constant(PROMPTS, dtype=tf.int32)
        lengths = tf.cast(ids.row_lengths(), tf.int32)
        asked = plain(4, max_new_tokens=limits, stops=tf.constant([["never"]] * 4))
        return decode(decoder, ids.to_tensor(), lengths, asked, end_ids=[end_id], is_over=is_over)

    graph = tf.function(loop, input_signature=[tf.TensorSpec([4], tf.int32), tf.TensorSpec([], tf.int32)])

    def count(function, limits, end_id=-1):
        counter.assign(0)
        function(tf.constant(limits), tf.constant(end_id))
        return int(counter)

    answers = run(PROMPTS)
    end = only_in_the_first(answers)
    place = answers[0].index(end)
    assert place + 1 < 7
    assert count(graph, [10] * 4) == 10
    assert count(graph, [2, 5, 1, 0]) == count(loop, [2, 5, 1, 0]) == 5
    assert count(graph, [0, 0, 0, 0]) == 1  # the prompts are read all the same
    assert count(graph, [10, 0, 0, 0], end) == place + 1  # the end token is chosen, nothing after it
    assert count(graph, [10, 7, 0, 0], end) == 7


def test_a_prompt_and_its_continuation_may_fill_every_position(run):
    assert [len(answer) for answer in run([[5] * 30, [6]], 10)] == [10, 10]  # 40 positions


@pytest.mark.parity
@pytest.mark.parametrize("end", [False, True])
def test_greedy_equals_the_reference_token_for_token(tmp_path, end):
    """Prompts of different lengths in one batch, against `generate` of each."""
    import torch

    from kzoo.checkpoints.huggingface import save_directory

    made = tiny.talkative(tiny.gpt2())
    save_directory(made, tmp_path, head=made.family.HEADS["generate"])
    model = reference.load(tmp_path, "GPT2LMHeadModel")
    run = in_graph(made.backbone)
    end_id = run(PROMPTS, 20)[2][6] if end else -1
    model.generation_config.eos_token_id = end_id if end else None
    answers = run(PROMPTS, 20, end_id=end_id)
    assert len({token for answer in answers for token in answer}) > 6
    for prompt, answer in zip(PROMPTS, answers, strict=True):
        with torch.no_grad():
            ids = model.generate(
                torch.tensor([prompt]),
                attention_mask=torch.ones(1, len(prompt)),
                max_new_tokens=20,
                do_sample=False,
                pad_token_id=0,
            )
        expected = ids[0, len(prompt) :].tolist()
        assert answer == (expected[: expected.index(end_id)] if end_id in expected else expected)
    assert not end or len(answers[2]) <= 6


def test_log_probabilities_are_the_model_s_own(decoder, run):
    answers = run(PROMPTS, 6, temperature=WARM, seeds=[1, 2, 3, 4])
    found = run.found.log_probabilities.numpy()
    for row, (prompt, answer) in enumerate(zip(PROMPTS, answers, strict=True)):
        ids = np.array([prompt + answer], "int32")
        states = decoder({"token_ids": ids, "padding_mask": np.ones_like(ids)})["sequence_output"]
        log = tf.nn.log_softmax(decoder.logits(states))[0].numpy()
        expected = [log[len(prompt) - 1 + place, token] for place, token in enumerate(answer)]
        np.testing.assert_allclose(found[row, : len(answer)], expected, atol=1e-4)


def test_whether_a_row_came_to_an_end(run):
    answers = run(PROMPTS)
    end = only_in_the_first(answers)
    run(PROMPTS, end_id=end)
    assert run.found.ended.numpy().tolist() == [True, False, False, False]
    assert not run.found.log_probabilities[0, answers[0].index(end) :].numpy().any()


def test_several_rows_of_a_prompt_have_seeds_of_their_own_and_the_first_the_prompt_s(decoder, run):
    three = in_graph(decoder, copies=3)
    answers = three(PROMPTS, 8, seeds=[5, 6, 7, 8], temperature=WARM)
    assert answers[::3] == run(PROMPTS, 8, seeds=[5, 6, 7, 8], temperature=WARM)
    assert len({tuple(answer) for answer in answers}) == 12
    greedy = three(PROMPTS, 8)
    assert greedy == [answer for answer in run(PROMPTS, 8) for _ in range(3)]


def test_no_end_before_the_least_number_of_tokens(decoder, run):
    answers = run(PROMPTS)
    end = answers[0][2]
    least = in_graph(decoder, min_new_tokens=[5, 0, 0, 0])
    found = least(PROMPTS, end_id=end)
    assert end not in found[0] and len(found[0]) >= 5
    assert found[1:] == run(PROMPTS, end_id=end)[1:]


@pytest.mark.parity
def test_greedy_with_penalties_equals_the_reference(tmp_path):
    import torch

    from kzoo.checkpoints.huggingface import save_directory

    made = tiny.talkative(tiny.gpt2())
    save_directory(made, tmp_path, head=made.family.HEADS["generate"])
    model = reference.load(tmp_path, "GPT2LMHeadModel")
    model.generation_config.eos_token_id = None
    answers = in_graph(made.backbone, repetition_penalty=1.4)(PROMPTS, 20)
    assert answers != in_graph(made.backbone)(PROMPTS, 20)
    for prompt, answer in zip(PROMPTS, answers, strict=True):
        with torch.no_grad():
            ids = model.generate(
                torch.tensor([prompt]), max_new_tokens=20, do_sample=False, pad_token_id=0, repetition_penalty=1.4
            )
        assert answer == ids[0, len(prompt) :].tolist()


@pytest.mark.parametrize("temperature", [GREEDY, WARM])
def test_it_compiles_where_no_row_asks_for_more(decoder, temperature):
    """XLA: the same tokens, with lengths known when it is traced."""

    def loop(ids, lengths):
        return decode(decoder, ids, lengths, plain(2, max_new_tokens=9, temperature=temperature, top_k=5), end_ids=[3])

    ids, lengths = tf.constant([[7, 8, 9, 10], [30, 31, 0, 0]]), tf.constant([4, 2])
    one, other = (tf.function(loop, autograph=False, jit_compile=jit)(ids, lengths) for jit in (False, True))
    np.testing.assert_array_equal(one.token_ids, other.token_ids)
    np.testing.assert_allclose(one.log_probabilities, other.log_probabilities, atol=1e-5)
