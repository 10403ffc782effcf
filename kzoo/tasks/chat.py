"""One turn of a chat inside the graph: a user's text, framed as the model's chat template frames it."""

from dataclasses import dataclass, replace

import tensorflow as tf

from kzoo.errors import UserError
from kzoo.tokenizers import Tokenizer, chat_template

# B texts

_PROBES = ("Wherefore art thou?", "Zwei\n Zeilen, 12345 <b>")
_WHITE_SPACE = r"[\t-\r\x1c-\x20\x{85}\p{Z}]+"  # what Python's strip takes


@dataclass(frozen=True)
class Turn:
    """What a template writes around a user's text: ``before + ids(head + text + tail) + after``.

    Special tokens of a chat template are ids; what looks like one in the text stays text, so that nobody can write
    himself another role. The ordinary text next to the user's, ``head`` and ``tail``, is tokenized with it, for its
    letters may join.

    Attributes:
        before: ids in front, the last of which is a special token.
        head: ordinary text between them and the user's.
        tail: ordinary text behind the user's.
        after: ids behind, the first of which is a special token.
        strips: whether the template takes white space from both ends of the text.
        end_id: the token that ends an assistant's answer, or None when the template writes none.
        reads_special: whether special tokens written in the text are read as such.
    """

    before: tuple[int, ...]
    head: str
    tail: str
    after: tuple[int, ...]
    strips: bool
    end_id: int | None
    reads_special: bool = False

    def length(self, tokenizer: Tokenizer) -> int:
        """How many tokens stand around a text."""
        inside = tokenizer.tokenize([self.head, self.tail], special_tokens_in_text=self.reads_special).ids
        return len(self.before) + int(inside.flat_values.shape[0]) + len(self.after)

    def tokenize(
        self, tokenizer: Tokenizer, texts: tf.Tensor, max_length: int, *, cut: str = "start"
    ) -> tf.RaggedTensor:
        """Ids, ragged int32 ``[B, None]``, of texts ``[B]``.

        Of a text that is too long the ``cut`` side ("start" or "end") is left out. Where the template's own tokens
        leave no room, nothing of the text is left, and the row is longer.
        """
        if self.strips:
            texts = tf.strings.regex_replace(texts, f"^{_WHITE_SPACE}|{_WHITE_SPACE}$", "")
        tokens = tokenizer.tokenize(
            tf.strings.join([self.head, texts, self.tail]), special_tokens_in_text=self.reads_special
        )
        lengths = tokens.ids.row_lengths()
        room = tf.maximum(max_length - len(self.before) - len(self.after), 0)
        surplus = tf.maximum(lengths - tf.cast(room, lengths.dtype), 0)  # [B], of tokens
        if cut == "end":
            valid = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8")
            edge = len(self.head) + tf.strings.length(valid, unit="UTF8_CHAR")  # [B], in code points
            of_tail = tf.reduce_sum(tf.cast(tokens.ends > edge[:, tf.newaxis], lengths.dtype), axis=1)
            first = tf.maximum(lengths - of_tail - surplus, 0)
        else:
            first = tf.reduce_sum(tf.cast(tokens.starts < len(self.head), lengths.dtype), axis=1)  # those of the head
        place = tf.ragged.range(lengths)
        kept = (place < first[:, tf.newaxis]) | (place >= (first + surplus)[:, tf.newaxis])
        ids = tf.ragged.boolean_mask(tokens.ids, kept)
        rows = ids.nrows()
        return tf.concat([_repeated(self.before, rows), ids, _repeated(self.after, rows)], axis=1)

    def around(self, head: str, tail: str) -> "Turn":
        """The same with more ordinary text around the user's; then its white space stays as it is."""
        if not head and not tail:
            return self
        return replace(self, head=self.head + head, tail=tail + self.tail, strips=False)


PLAIN = Turn((), "", "", (), strips=False, end_id=None, reads_special=True)
"""Nothing around a text."""


def _repeated(ids: tuple[int, ...], rows) -> tf.Tensor:
    return tf.tile(tf.constant([ids], tf.int32, shape=(1, len(ids))), [rows, 1])


def read_turn(tokenizer: Tokenizer, system: str | None = None) -> Turn:
    """The turn that a tokenizer's chat template makes of ``[system?, user]``.

    Dates that a template writes are those of this moment.

    Args:
        tokenizer: with the files it came from.
        system: what the system says; None leaves it to the template.

    Raises:
        UserError: there is no template, or it does more to a text than to put it somewhere.
    """
    template = chat_template.read(tokenizer.files)
    if template is None:
        raise UserError("This model has no chat template, so it cannot be asked with chat=True or a system text.")
    first = [{"role": "system", "content": system}] if system is not None else []

    def render(text):
        return template.render([*first, {"role": "user", "content": text}])

    probe = _PROBES[0]
    whole = render(probe)
    if whole.count(probe) != 1:
        raise UserError(f"The chat template writes a user's text {whole.count(probe)} times; kzoo needs it once.")
    prefix, suffix = whole.split(probe)
    strips = f"  {probe}\n" not in render(f"  {probe}\n")
    for text in _PROBES:
        if render(text) != prefix + text + suffix or (strips and render(f"\n {text} ") != prefix + text + suffix):
            raise UserError(
                "The chat template does more to a user's text than to put it somewhere; kzoo cannot follow."
            )
    before, head = _split_behind(tokenizer, prefix)
    tail, after = _split_before(tokenizer, suffix)
    answer = template.render(
        [*first, {"role": "user", "content": probe}, {"role": "assistant", "content": probe}],
        add_generation_prompt=False,
    )
    _, end = _split_before(tokenizer, answer.rpartition(probe)[2])
    turn = Turn(before, head, tail, after, strips, end[0] if end else None)
    expected = tokenizer.tokenize([prefix + text + suffix for text in _PROBES]).ids.to_list()
    if turn.tokenize(tokenizer, tf.constant(_PROBES), 2**30).to_list() != expected:
        raise UserError("The chat template and this tokenizer join text across special tokens; kzoo cannot follow.")
    return turn


def _special(tokenizer: Tokenizer, text: str) -> tuple[list[int], list[tuple[int, int, int]]]:
    """The ids of a text, and of the special tokens among them: index, and the characters where they begin and end."""
    ids, starts, ends = (one.to_list()[0] for one in tokenizer.tokenize([text]))
    return ids, [(i, starts[i], ends[i]) for i, id in enumerate(ids) if tokenizer.is_special(id)]


def _split_behind(tokenizer: Tokenizer, text: str) -> tuple[tuple[int, ...], str]:
    """Ids up to the last special token, and the text behind it."""
    ids, special = _special(tokenizer, text)
    if not special:
        return (), text
    index, _, end = special[-1]
    return tuple(ids[: index + 1]), text[end:]


def _split_before(tokenizer: Tokenizer, text: str) -> tuple[str, tuple[int, ...]]:
    """The text before the first special token, and the ids from it on."""
    ids, special = _special(tokenizer, text)
    if not special:
        return text, ()
    index, start, _ = special[0]
    return text[:start], tuple(ids[index:])
