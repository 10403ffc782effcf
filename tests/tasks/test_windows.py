import numpy as np
import pytest
import tensorflow as tf

from kzoo.tasks.framing import frame
from kzoo.tasks.windows import merged, spread, windows
from kzoo.tokenizers import Tokens

# B texts, W windows, N tokens of all texts


def context(place, begin, end, length):
    """How far a token is from the edges of a window at which its text goes on."""
    before = float("inf") if begin == 0 else place - begin
    return min(before, float("inf") if end == length else end - 1 - place)


CASES = [([0, 1, 5, 6, 7, 20, 23], 6, 4), ([13], 5, 1), ([17, 0, 3], 4, 4), ([40, 41, 2], 8, 3), ([9], 3, 9)]


@pytest.mark.parametrize("lengths, room, stride", CASES)
def test_windows_hold_every_token_and_each_is_judged_once_where_it_has_most_context(lengths, room, stride):
    made = windows(tf.constant(lengths), room, stride)
    rows = np.stack([one.numpy() for one in made], 1).tolist()
    for row, length in enumerate(lengths):
        mine = [one[1:] for one in rows if one[0] == row]
        assert mine[0][0] == 0 and mine[-1][1] == length
        assert all(end - begin == room for begin, end, _, _ in mine[:-1]) and mine[-1][1] - mine[-1][0] <= room
        steps = [later[0] - earlier[0] for earlier, later in zip(mine, mine[1:], strict=False)]
        assert steps == [min(stride, room)] * (len(mine) - 1)
        judged = [place for _, _, first, until in mine for place in range(first, until)]
        assert judged == list(range(length))
        for begin, end, first, until in mine:
            assert begin <= first <= until <= end
            for place in range(first, until):
                others = [context(place, b, e, length) for b, e, _, _ in mine if b <= place < e]
                assert context(place, begin, end, length) == max(others)
    assert [one[0] for one in rows] == sorted(one[0] for one in rows)


def test_no_more_windows_than_needed():
    assert windows(tf.constant([6, 7, 10, 11]), 6, 4).row.numpy().tolist() == [0, 1, 1, 2, 2, 3, 3, 3]


def test_each_text_may_have_a_room_of_its_own():
    made = windows(tf.constant([7, 7]), tf.constant([7, 3]), 2)
    assert made.row.numpy().tolist() == [0, 1, 1, 1]
    assert made.end.numpy().tolist() == [7, 3, 5, 7]


def test_there_may_be_no_text():
    made = windows(tf.zeros([0], tf.int32), 4, 2)
    assert made.row.shape == [0]
    empty = tf.RaggedTensor.from_row_lengths(tf.zeros([0], tf.int32), tf.zeros([0], tf.int32))
    assert made.of(empty).nrows() == 0


@pytest.mark.parametrize("lengths, room, stride", CASES)
def test_what_windows_say_of_tokens_comes_together_in_the_order_of_the_texts(lengths, room, stride):
    values = tf.range(100, 100 + sum(lengths))
    texts = tf.RaggedTensor.from_row_lengths(values, tf.constant(lengths, tf.int64))

    @tf.function(reduce_retracing=True, autograph=False)
    def run(texts):
        made = windows(texts.row_lengths(), room, stride)
        some, judged = made.of(texts), made.judged()
        framed = frame(Tokens(some, some, judged), before=(1, 2), after=(3,), max_length=room + 3)
        ids, judged = framed["token_ids"], framed["ends"]
        outputs = tf.stack([ids.to_tensor(), -ids.to_tensor()], -1)  # [W, T, 2]
        outputs = tf.pad(outputs, [[0, 0], [0, 4], [0, 0]], constant_values=7)
        return ids, merged(ids, judged), merged(outputs, judged), spread(values, judged)

    ids, one, both, back = run(texts)
    assert one.numpy().tolist() == values.numpy().tolist()
    assert both.numpy().tolist() == [[value, -value] for value in values.numpy().tolist()]
    for row, again in zip(ids.to_list(), back.to_list(), strict=True):
        assert row[:2] == [1, 2] and row[-1] == 3 and again[:2] == [0, 0] and again[-1] == 0
        assert all(place in (0, value) for value, place in zip(row[2:-1], again[2:-1], strict=True))
    assert sorted(value for row in back.to_list() for value in row if value) == values.numpy().tolist()
