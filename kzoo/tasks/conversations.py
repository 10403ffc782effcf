"""Conversations as token ids: the text that a chat template makes of them, and where in it the assistant speaks."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kzoo.data.documents import in_parallel
from kzoo.data.exchanges import NO_ANSWER, Exchanges
from kzoo.data.spans import edges_of
from kzoo.errors import UserError
from kzoo.tokenizers import Tokenizer, chat_template
from kzoo.tokenizers.chat_template import ChatTemplate

TOO_LONG = "whose answers begin behind max_length"
SPECIAL = "with a special token of the model written in a message"


@dataclass(frozen=True)
class Rendered:
    """A conversation as a template writes it.

    Attributes:
        text: all of it.
        spoken: where each of the assistant's messages begins and ends, in characters.
    """

    text: str
    spoken: list[tuple[int, int]]


def read_conversations(
    tokenizer: Tokenizer,
    conversations: Sequence[Any],
    *,
    max_length: int,
    system: str | None = None,
    cut: str = "start",
    source: str = "the examples",
) -> Exchanges:
    """Tokenizes conversations; what the assistant says is learned, up to the special token that ends it.

    The ids are those that ``transformers``' ``apply_chat_template`` gives. A conversation whose messages hold the text
    of a special token would have turns that nobody took: it is left out, as one without an answer is.

    Args:
        tokenizer: with a chat template among its files.
        conversations: lists of ``{"role": ..., "content": ...}``.
        max_length: most tokens of one.
        system: what the system says where a conversation does not begin with that.
        cut: what is left out of one that is too long. "start": its oldest exchanges, and only then its end; "end".
        source: for messages.

    Raises:
        UserError: there is no template, a conversation is no list of messages, or the template rewrites what was said.
    """
    template = chat_template.read(tokenizer.files)
    if template is None:
        raise UserError("This model has no chat template, so it cannot learn from messages.")
    special = [token for token, number in tokenizer.vocabulary.items() if tokenizer.is_special(number)]
    waiting: dict[int, list[dict[str, str]]] = {}
    left_out = dict.fromkeys((NO_ANSWER, SPECIAL, TOO_LONG), 0)
    for row, conversation in enumerate(conversations):
        messages = list(_messages(conversation, where=f"Row {row + 1} of {source}"))
        if system is not None and messages and messages[0]["role"] != "system":
            messages = [{"role": "system", "content": system}, *messages]
        if not any(one["role"] == "assistant" and one["content"].strip() for one in messages):
            left_out[NO_ANSWER] += 1
        elif any(token in one["content"] for one in messages for token in special):
            left_out[SPECIAL] += 1
        else:
            waiting[row] = messages
    made: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    while waiting:
        longer = {}
        for row, ids, learned in _tokenized(tokenizer, template, waiting, source):
            shorter = _without_oldest(waiting[row]) if cut == "start" and len(ids) > max_length else None
            if shorter is not None:
                longer[row] = shorter
            elif learned[:max_length].any():
                made[row] = ids[:max_length], learned[:max_length]
            else:
                left_out[TOO_LONG] += 1
        waiting = longer
    rows = sorted(made)
    return Exchanges(
        ids=np.concatenate([made[row][0] for row in rows] or [np.zeros(0, np.int32)]).astype(np.int32),
        learned=np.concatenate([made[row][1] for row in rows] or [np.zeros(0, bool)]),
        edges=edges_of(np.array([len(made[row][0]) for row in rows], np.int64)),
        examples=np.array(rows, np.int64),
        left_out={reason: count for reason, count in left_out.items() if count},
    )


def render(template: ChatTemplate, messages: Sequence[dict[str, str]], *, where: str = "") -> Rendered:
    """The text of a conversation, and where in it the assistant's messages stand.

    Raises:
        UserError: the template writes a message otherwise than it was given.
    """
    text = template.render(messages, add_generation_prompt=False)
    spoken = []
    for place, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        content = message["content"].strip()
        asked, before = (
            (template.render(messages[:place], add_generation_prompt=asks) if place else "") for asks in (True, False)
        )
        asks = place > 0 and text.startswith(asked)
        start = text.find(content, len(asked if asks else before))
        if start < 0 or not text.startswith(asked if asks else before):
            raise UserError(
                f"{where or 'A conversation'}: the chat template rewrites what was said before, so that kzoo "
                "cannot tell which tokens are the assistant's. Cut such conversations into single exchanges."
            )
        # where a request begins an answer otherwise than a conversation shows it, only what was said is learned
        if asks or content:
            spoken.append((len(asked) if asks else len(text[:start].rstrip(" ")), start + len(content)))
    return Rendered(text, spoken)


def _tokenized(
    tokenizer: Tokenizer, template: ChatTemplate, conversations: dict[int, list[dict[str, str]]], source: str
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Row, ids and what is learned of each."""
    rendered = [
        render(template, messages, where=f"Row {row + 1} of {source}") for row, messages in conversations.items()
    ]
    is_special = np.zeros(tokenizer.vocabulary_size, bool)
    is_special[[number for _, number in tokenizer.vocabulary.items() if tokenizer.is_special(number)]] = True
    pieces = list(in_parallel(tokenizer.tokenize, [one.text for one in rendered]))
    triples = (
        row for piece in pieces for row in zip(piece.ids.numpy(), piece.starts.numpy(), piece.ends.numpy(), strict=True)
    )
    for row, one, (ids, starts, ends) in zip(conversations, rendered, triples, strict=True):
        learned = np.zeros(len(ids), bool)
        for begin, end in one.spoken:
            closing = np.flatnonzero(is_special[ids] & (starts >= end))
            last = int(closing[0]) + 1 if len(closing) else int(np.searchsorted(ends, end)) + 1
            learned[int(np.searchsorted(starts, begin)) : last] = True
        yield row, ids, learned


def _messages(conversation: Any, *, where: str) -> Iterator[dict[str, str]]:
    if not isinstance(conversation, list | tuple):
        raise UserError(f"{where}: messages must be a list of {_SHAPE}. Received {conversation!r}.")
    for message in conversation:
        known = isinstance(message, dict) and all(isinstance(message.get(key), str) for key in ("role", "content"))
        if not known:
            raise UserError(f"{where}: each message must be {_SHAPE}. Received {str(message)[:100]}.")
        yield message


def _without_oldest(messages: list[dict[str, str]]) -> list[dict[str, str]] | None:
    """Without the first exchange behind what the system says; None when only one is left."""
    first = int(messages[0]["role"] == "system")
    later = [place for place in range(first + 1, len(messages)) if messages[place]["role"] == "user"]
    shorter = messages[:first] + messages[later[0] :] if later else []
    return shorter if any(one["role"] == "assistant" for one in shorter) else None


_SHAPE = '{"role": "user", "content": "..."}'
