import numpy as np
import pytest
import tensorflow as tf

from kzoo.tasks.chunks import by_length
from kzoo.tasks.framing import dense

LENGTHS = [5, 1, 3, 0, 8, 2, 2, 7, 4]
ROWS = [list(range(row + 1, row + 1 + length)) for row, length in enumerate(LENGTHS)]
SPECS = {"sum": tf.TensorSpec([None], tf.int32), "each": tf.TensorSpec([None, None, 2], tf.float32)}


def tokens(rows=ROWS):
    ids = tf.ragged.constant(rows, dtype=tf.int32, ragged_rank=1)
    return {"token_ids": ids, "row": tf.range(ids.nrows(out_type=tf.int32))}


def run(these, length):
    """The sum of a row, and each token beside its negative; says nothing of padding."""
    ids = dense(these["token_ids"], length)
    return {"sum": tf.reduce_sum(ids, 1), "each": tf.cast(tf.stack([ids, -ids], -1), tf.float32)}


@pytest.mark.parametrize("rows", [1, 2, 4, 9, 32])
def test_chunks_give_what_all_rows_at_once_give(rows):
    outputs = by_length(tokens(), run, SPECS, rows=rows)
    assert outputs["sum"].numpy().tolist() == [sum(row) for row in ROWS]
    assert outputs["each"].shape == (9, 8, 2)
    for row, ids in enumerate(ROWS):
        np.testing.assert_array_equal(outputs["each"][row, : len(ids), 1], -np.array(ids))
        assert not outputs["each"][row, len(ids) :].numpy().any()


def test_every_chunk_is_only_as_long_as_its_longest_row():
    seen = []

    def spy(these, length):
        seen.append((these["row"].numpy().tolist(), int(length)))
        return run(these, length)

    by_length(tokens(), spy, SPECS, rows=4)
    assert seen == [([3, 1, 5, 6], 2), ([2, 8, 0, 7], 7), ([4], 8)]


@pytest.mark.parametrize(
    ("rows", "sizes"), [(1, [1]), (9, [8, 1]), (32, [8] * 4), (64, [16] * 4), (130, [32] * 4 + [2])]
)
def test_few_rows_are_cut_finer(rows, sizes):
    seen = []

    def spy(these, length):
        seen.append(int(these["row"].shape[0]))
        return run(these, length)

    by_length(tokens([[1]] * rows), spy, SPECS)
    assert seen == sizes


def test_in_a_graph_of_unknown_sizes_and_for_no_rows():
    @tf.function(input_signature=[tf.RaggedTensorSpec([None, None], tf.int32, row_splits_dtype=tf.int64)])
    def graph(ids):
        return by_length({"token_ids": ids}, run, SPECS, rows=4)

    ids = tokens()["token_ids"]
    assert graph(ids)["sum"].numpy().tolist() == [sum(row) for row in ROWS]
    assert graph(ids[:1])["each"].shape == (1, 5, 2)
    none = graph(ids[:0])
    assert none["sum"].shape == (0,) and none["each"].shape[0] == 0


def test_rows_without_any_token():
    outputs = by_length(tokens([[], []]), run, SPECS, rows=4)
    assert outputs["sum"].numpy().tolist() == [0, 0] and outputs["each"].shape == (2, 1, 2)


def test_dtypes_are_kept():
    outputs = by_length(
        tokens(),
        lambda these, length: tf.cast(run(these, length)["sum"], tf.bfloat16),
        tf.TensorSpec([None], tf.bfloat16),
        rows=4,
    )
    assert outputs.dtype == tf.bfloat16 and outputs.shape == (9,)
