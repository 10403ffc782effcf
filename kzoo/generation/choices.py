"""How likely each of some fixed texts is behind prompts, all of them read once.

A row is read as a tree: what stands before the prompts (``Shared``, read once for all rows), the row's own trunk, then
its branches: the prompt, and with calibration a content-free prompt (Zhao et al. 2021, section 4). Each choice is a
twig of each branch. A token sees its ancestors only and has the position that it would have if it stood behind them
alone, so one pass gives what one pass a choice would give.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from kzoo.layers.cache import Cache

# R rows, Z tokens shared by all rows, O own tokens of a row, N tokens of the tree's fixed part, M targets, C choices,
# S slots = Z + O + N, D width, V vocabulary

_TEXT = -1  # the choice of a token that is a prompt's


class Shared(NamedTuple):
    """What was read once for all rows.

    Attributes:
        cache: of each block, ``[Z, 1, K, H]``; of it a row sees as many tokens as ``Rows.seen`` says.
        length: Z.
    """

    cache: list[Cache]
    length: int


class Rows(NamedTuple):
    """What is read for each row.

    Attributes:
        token_ids: int32 ``[R, O]``: the trunk, then the prompt, padded on the right.
        lengths: int32 ``[R]``, how many of them are real; one at least is the prompt's.
        trunks: int32 ``[R]``, how many of these are the trunk.
        seen: int32 ``[R]``, how many of the shared tokens stand before them.
    """

    token_ids: tf.Tensor
    lengths: tf.Tensor
    trunks: tf.Tensor
    seen: tf.Tensor


class Scores(NamedTuple):
    """Log-probabilities float32 ``[R, C]`` of the choices, behind the prompts and behind the content-free one."""

    prompt: tf.Tensor
    content_free: tf.Tensor | None


def read_shared(decoder, token_ids: Sequence[int]) -> Shared:
    """Reads the tokens that stand before all rows."""
    length = len(token_ids)
    positions = tf.range(length)[None, :]
    _, cache = decoder.step(
        tf.constant([list(token_ids)], tf.int32),
        decoder.empty_cache(1, length),
        attention_mask=tf.range(length)[None, None, :] <= tf.range(length)[None, :, None],
        positions=positions,
        key_positions=positions,
        slot=tf.constant(0),
    )
    return Shared(cache, length)


class ChoiceScorer:
    """Scores the same choices behind any prompts.

    Args:
        choices: token ids of each; none is empty.
        content_free: token ids of the content-free prompt; none where there is no calibration.

    Attributes:
        lengths: tokens of each choice, C.
        longest: most tokens of one.
    """

    def __init__(self, choices: Sequence[Sequence[int]], content_free: Sequence[int] = ()):
        self.lengths = np.array([len(choice) for choice in choices], np.float32)
        self.longest = int(self.lengths.max())
        self.content_free_length = len(content_free)
        ids: list[int] = []
        place: list[tuple[int, int, int]] = []  # branch, choice, tokens of the branch before it
        sources: list[int] = []  # -1: the prompt's last token
        targets: list[int] = []
        owners: list[int] = []
        for branch, text in enumerate([(), content_free] if content_free else [()]):
            last = len(ids) + len(text) - 1 if branch else -1
            ids += text
            place += [(branch, _TEXT, number) for number in range(len(text))]
            for number, choice in enumerate(choices):
                sources += [last, *range(len(ids), len(ids) + len(choice) - 1)]
                targets += choice
                owners += [branch * len(choices) + number] * len(choice)
                place += [(branch, number, len(text) + offset) for offset in range(len(choice) - 1)]
                ids += choice[:-1]  # what follows the last token nobody asks
        self._ids = np.array(ids, np.int32)  # [N]
        table = np.array(place, np.int32).reshape(-1, 3)
        self._branch, choice_of, self._offset = table[:, 0], table[:, 1], table[:, 2]
        same = self._branch[:, None] == self._branch[None, :]
        ancestor = (choice_of[None, :] == _TEXT) | (choice_of[:, None] == choice_of[None, :])
        self._sees = same & ancestor & np.tri(len(ids), dtype=bool)  # [N, N], query and key
        unique, self._source = np.unique(np.array(sources, np.int32), return_inverse=True)
        self._unique, self._targets = unique, np.array(targets, np.int32)
        self._sums = np.eye((2 if content_free else 1) * len(choices), dtype=np.float32)[owners]  # [M, C or 2 C]
        self._count = len(choices)

    def __call__(self, decoder, rows: Rows, shared: Shared | None = None) -> Scores:
        """Scores of the choices; positions up to all that is read must exist in the decoder."""
        num_rows, num_own = tf.shape(rows.token_ids)[0], tf.shape(rows.token_ids)[1]
        num_shared, num_tree = shared.length if shared else 0, len(self._ids)
        own = tf.range(num_own)  # [O]
        bases = tf.where(self._branch[None, :] == 0, rows.lengths[:, None], rows.trunks[:, None])  # [R, N]
        own_positions = rows.seen[:, None] + own[None, :]
        tree_positions = rows.seen[:, None] + bases + self._offset[None, :]
        positions = tf.concat([own_positions, tree_positions], axis=1)  # [R, O + N]
        before = tf.broadcast_to(tf.range(num_shared)[None, :], [num_rows, num_shared])

        sees_shared = tf.broadcast_to(
            (tf.range(num_shared)[None, :] < rows.seen[:, None])[:, None, :], [num_rows, num_own + num_tree, num_shared]
        )
        causal = tf.broadcast_to((own[None, :] <= own[:, None])[None], [num_rows, num_own, num_own])
        of_tree = own[None, None, :] < bases[:, :, None]  # [R, N, O]
        sees_own = tf.concat([causal, of_tree], axis=1)
        sees_tree = tf.broadcast_to(
            tf.concat([tf.zeros([num_own, num_tree], tf.bool), tf.constant(self._sees)], axis=0)[None],
            [num_rows, num_own + num_tree, num_tree],
        )
        cache = decoder.empty_cache(num_rows, num_own + num_tree)
        if shared:
            cache = [
                Cache(*(tf.concat([tf.repeat(one, num_rows, axis=1), empty], axis=0) for one, empty in pairs))
                for pairs in (zip(known, new, strict=True) for known, new in zip(shared.cache, cache, strict=True))
            ]
        tree = tf.broadcast_to(tf.constant(self._ids)[None, :], [num_rows, num_tree])
        hidden, _ = decoder.step(
            tf.concat([rows.token_ids, tree], axis=1),
            cache,
            attention_mask=tf.concat([sees_shared, sees_own, sees_tree], axis=2),
            positions=positions,
            key_positions=tf.concat([before, positions], axis=1),
            slot=tf.constant(num_shared),
        )
        return self._scores(decoder, hidden, rows.lengths, num_own)

    def _scores(self, decoder, hidden, lengths, num_own) -> Scores:
        places = tf.where(
            self._unique[None, :] < 0, lengths[:, None] - 1, num_own + tf.maximum(self._unique, 0)[None, :]
        )  # [R, U]
        logits = decoder.logits(tf.gather(hidden, places, batch_dims=1))  # [R, U, V]
        normalizers = tf.reduce_logsumexp(logits, axis=-1)  # [R, U]
        flat = tf.reshape(logits, [tf.shape(logits)[0], -1])
        wanted = tf.constant(self._source, tf.int32) * tf.shape(logits)[2] + self._targets  # [M]
        each = tf.gather(flat, wanted, axis=1) - tf.gather(normalizers, self._source, axis=1)  # [R, M]
        sums = tf.matmul(each, self._sums)
        content_free = sums[:, self._count :] if self._sums.shape[1] > self._count else None
        return Scores(sums[:, : self._count], content_free)
