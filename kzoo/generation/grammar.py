"""Holds what is written to a pattern: which tokens may come, by the state of an automaton that read those before."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from kzoo.errors import UserError
from kzoo.generation.automaton import DEAD, Automaton, avoiding, both, whole
from kzoo.generation.patterns import Choice, literal, parse

# B rows, S states, V vocabulary, K kinds of tokens: those that lead from every state to the same ones

MOST_ENTRIES = 8_000_000
"""Of the table of states and kinds; two bytes each."""
_FAR = 2**30


class Grammar:
    """What may be written, as a table of the model's tokens.

    Args:
        automaton: over the bytes of the text.
        first: what each token id writes at the start of a text, V entries; None for what may not be written.
        later: the same behind other tokens.
        vocabulary_size: of the model, V or more.

    Attributes:
        is_whole: whether a text that ends too early is none; where only parts are blocked, any beginning is one.

    Raises:
        UserError: the table is too large, or the tokens cannot spell any text of the language.
    """

    def __init__(
        self,
        automaton: Automaton,
        first: Sequence[bytes | None],
        later: Sequence[bytes | None],
        vocabulary_size: int,
        *,
        is_whole: bool = True,
    ):
        self.is_whole = is_whole
        num_states = len(automaton.next)
        # One more state, the last, for the start: what the first token writes may differ.
        columns: dict[bytes, int] = {}
        found: list[np.ndarray] = []
        kinds = np.zeros(vocabulary_size, np.int32)

        def kind_of(column: np.ndarray) -> int:
            key = column.tobytes()
            if key not in columns:
                columns[key] = len(found)
                found.append(column)
                if len(found) * (num_states + 1) > MOST_ENTRIES:
                    raise UserError(
                        f"A pattern's table has at most {MOST_ENTRIES:,} entries; this one has {num_states:,} states, "
                        f"and over {len(found):,} kinds of tokens. Make the pattern simpler."
                    )
            return columns[key]

        kind_of(np.full(num_states + 1, DEAD, np.int16))  # kind 0 is ruled out everywhere
        starts = _from_start(automaton, first)
        for token, column in _columns(automaton, later):
            kinds[token] = kind_of(np.append(column, starts.pop(token, DEAD)).astype(np.int16))
        for token, state in starts.items():
            column = np.full(num_states + 1, DEAD, np.int16)
            column[-1] = state
            kinds[token] = kind_of(column)
        table = np.stack(found, axis=1)  # [S + 1, K]
        accepts = np.append(automaton.accepts, automaton.accepts[0])
        distances = _distances(table, accepts)
        if distances[-1] == _FAR:
            raise UserError("The tokens of this model cannot spell any text that matches the pattern.")
        table = np.where((table != DEAD) & (distances[table] < _FAR), table, DEAD)
        self._table, self._kinds, self._accepts = table.astype(np.int16), kinds, accepts
        self._distances = np.append(distances, _FAR).astype(np.int32)  # the last: of what is dead
        self.shortest = int(distances[-1])

    def begin(self, batch_size) -> tf.Tensor:
        """The states of rows that hold nothing: int32 ``[B]``."""
        return tf.fill([batch_size], len(self._table) - 1)

    def follow(self, states, tokens) -> tf.Tensor:
        """The states behind tokens ``[B]``; that of a token which may not come stays."""
        kinds = tf.gather(tf.constant(self._kinds), tokens)
        behind = tf.cast(tf.gather_nd(tf.constant(self._table), tf.stack([states, kinds], axis=1)), tf.int32)
        return tf.where(behind == DEAD, states, behind)

    def allow(self, scores, unchanged, states, left, end_ids) -> tf.Tensor:
        """Rules out the tokens that may not come.

        A token from which no match can be finished within what is left is ruled out, unless all are. An end token may
        come where a match is complete.

        Args:
            scores: float32 ``[B, V]``, changed by what a request asks.
            unchanged: the same before; these count in rows whose request rules out all that may come.
            states: int32 ``[B]``.
            left: int32 ``[B]``, tokens that may come behind this one.
            end_ids: the tokens that end a row.

        Returns:
            The scores, minus infinity for what is ruled out.
        """
        behind = tf.cast(tf.gather(tf.constant(self._table), states), tf.int32)  # [B, K]
        reach = tf.gather(tf.constant(self._distances), tf.where(behind == DEAD, len(self._distances) - 1, behind))
        complete = tf.gather(tf.constant(self._accepts), states)[:, None]  # [B, 1]
        in_time = reach <= left[:, None]
        some = tf.reduce_any(in_time, axis=1, keepdims=True) | complete
        kinds = tf.where(some, in_time, behind != DEAD)
        allowed = tf.gather(kinds, tf.constant(self._kinds), axis=1)  # [B, V]
        is_end = np.isin(np.arange(len(self._kinds)), np.array(list(end_ids), np.int32))
        allowed |= complete & tf.constant(is_end)[None, :]
        lowest = -float("inf")
        steered = tf.where(allowed, scores, lowest)
        asked_too_much = tf.reduce_all(steered == lowest, axis=1, keepdims=True)
        return tf.where(asked_too_much, tf.where(allowed, unchanged, lowest), steered)


def automaton_of(
    *, pattern: str | None = None, choices: Sequence[str] | None = None, blocked: Sequence[str] = ()
) -> Automaton:
    """What may be written: a text of a pattern, or one of some; of which no part matches one of the blocked patterns.

    Raises:
        UserError: a pattern that cannot be followed, or both a pattern and choices.
    """
    if pattern is not None and choices is not None:
        raise UserError("Give pattern or choices, not both: choices are a pattern of their own.")
    found: list[Automaton] = []
    if choices is not None:
        if not choices or not all(isinstance(one, str) for one in choices) or len(set(choices)) != len(choices):
            raise UserError(f"choices must name different texts, one at least. Received {choices!r}.")
        found.append(whole(Choice(tuple(literal(one) for one in choices))))
    if pattern is not None:
        found.append(whole(parse(pattern)))
    if blocked:
        found.append(avoiding(Choice(tuple(parse(one) for one in blocked))))
    if not found:
        raise UserError("Give pattern, choices or blocked patterns. Received none.")
    return found[0] if len(found) == 1 else both(*found)


def _from_start(automaton: Automaton, written: Sequence[bytes | None]) -> dict[int, int]:
    """The state behind each token at the start of a text."""
    found = {}
    for token, text in enumerate(written):
        state = 0
        for byte in text or b"":
            state = int(automaton.next[state, byte])
            if state == DEAD:
                break
        if text and state != DEAD:
            found[token] = state
    return found


def _columns(automaton: Automaton, written: Sequence[bytes | None]):
    """Tokens that lead from some state to one, and the states behind them for each state before, int32 ``[S]``."""
    table = np.concatenate([automaton.next, np.full([1, 256], DEAD, np.int32)])  # the last row: what is dead stays so
    tokens = sorted((text, token) for token, text in enumerate(written) if text)
    stack = [np.arange(len(automaton.next))]  # behind each byte of the text before
    spelled = b""
    for text, token in tokens:
        shared = 0
        while shared < min(len(text), len(spelled), len(stack) - 1) and text[shared] == spelled[shared]:
            shared += 1
        del stack[shared + 1 :]
        is_dead = len(stack) == shared + 1 and not (stack[-1] != DEAD).any()
        for byte in () if is_dead else text[shared:]:
            stack.append(table[stack[-1], byte])
            if not (stack[-1] != DEAD).any():
                break
        spelled = text
        if len(stack) == len(text) + 1 and (stack[-1] != DEAD).any():
            yield token, stack[-1]


def _distances(table: np.ndarray, accepts: np.ndarray) -> np.ndarray:
    """Fewest tokens from each state to one where a text may end, ``_FAR`` where none lead there: int64 ``[S]``."""
    distances = np.where(accepts, 0, _FAR)
    while True:
        behind = np.where(table == DEAD, _FAR, distances[table])
        nearer = np.minimum(distances, behind.min(axis=1) + 1)
        if (nearer == distances).all():
            return np.minimum(distances, _FAR)
        distances = nearer
