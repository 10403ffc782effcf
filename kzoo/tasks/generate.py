"""Continuing a text, or answering one turn of a chat: greedy or sampled."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kzoo.data import packing
from kzoo.data.examples import Examples
from kzoo.data.exchanges import LEARNED, NUMBER, PREFIX, Exchanges
from kzoo.errors import UserError
from kzoo.generation.grammar import Grammar, automaton_of
from kzoo.models.gpt import LanguageModel
from kzoo.tasks.chat import PLAIN, read_turn
from kzoo.tasks.conversations import read_conversations
from kzoo.tasks.counting import CountedAccuracy
from kzoo.tasks.framing import begin, cut, dense, fill_empty, start_id
from kzoo.tasks.knobs import BEAM_KNOBS, KNOBS, read_defaults
from kzoo.tasks.long_prompts import LEAST_ROOM
from kzoo.tasks.pairs import read_pairs
from kzoo.tasks.task import Task
from kzoo.tasks.writing import Writer

# B texts, T length, V vocabulary

LEARNS_FROM: dict[str, dict[str, str]] = {
    "text": {"text": "string"},
    "pairs": {"prompt": "string", "answer": "string"},
    "conversations": {"messages": "list"},
}
"""Columns of the examples, by what they are."""


class Generate(Task):
    """Continues a prompt, or answers it as the model's chat template frames it.

    It learns from what the examples hold: running text (``text``); answers to prompts (``prompt`` and ``answer``), each
    framed as a request is; or conversations (``messages``), of which it learns what the assistant says.

    Args:
        pretrained: what ``kzoo.load`` or ``kzoo.fresh`` returned; a GPT-style model.
        max_length: most tokens of prompt and continuation together, and the length of training's blocks.
        max_new_tokens: most tokens that a request may ask for, and what a request gets that does not say.
        temperature: for requests that do not say; 0 is greedy.
        top_k: for requests that do not say; 0 for all.
        top_p: for requests that do not say; 1 for all.
        chat: True: a prompt is what a user says, and the answer is the assistant's; special tokens written in it are
            ordinary text. By default only where ``system`` is given.
        system: what the system says before a chat; None leaves it to the template.
        crosses_documents: how training fills its blocks. False: with whole documents where they fit, each read as if
            it stood alone: attention does not cross into another, and positions begin anew. True: with all documents
            joined end to end, as GPT-2 was trained; a token looks at what precedes it, in whatever document.
        prompt_template: text around every prompt, in training and in requests: "{prompt}\n\nTL;DR:".
        prompt_cut: which side of a prompt that is too long is left out, "start" or "end"; the template stays.
        answers_in_parts: whether requests' prompts that are too long are answered part by part instead, cut between
            sentences, each in the template: summaries of long documents. Training cuts.
        parts_joined_by: what stands between the answers of two parts.
        prefix_attention: whether the tokens of a prompt look at one another both ways (a prefix language model, Raffel
            et al. 2020, section 3.2.1). A model that was pretrained looking back only has to learn it.
        begins_with_end_token: whether documents in training and prompts in requests begin with the token that ends
            texts, where the tokenizer's template puts none before them (GPT-2's). Then the first word of a document is
            learned, too, and an empty prompt is where a text begins. For models that are trained with it from the
            start: published ones of the kind are asked without it, and what stands at the first position is not theirs
            to choose anew. Joined documents (``crosses_documents``) learn their first words in any case.
        packs_rows: whether training fills its blocks with several answers or conversations, each read as if it stood
            alone. By default each has a row of its own.
        knobs: the other knobs of ``kzoo.tasks.knobs.KNOBS``, for requests that do not say: ``stop``, ``min_p``,
            ``repetition_penalty``, ``blocked_words``, ...
        num_sequences: texts for each prompt; above 1 the answers have one more axis.
        num_beams: above 1 the plain answer is the best of so many beams, and a signature ``beam`` gives all of them.
        length_penalty: of the beams, for requests that do not say; 0 adds log-probabilities up, above 0 favours long
            texts.
        pattern: a regular expression (``kzoo.generation.patterns``) that every answer matches as a whole. A request
            cannot lift it; one that asks for fewer tokens than a match takes gets the beginning of one.
        choices: the texts of which every answer is one.
        blocked_patterns: regular expressions of which no answer holds a match.
        speculates: tokens that are read ahead of those that are chosen where a text repeats itself, 0 for none. It
            changes the time that answers take, and nothing else (``kzoo.generation.speculation``).

    Raises:
        UserError: the model is not a decoder or has no chat template, or a length does not fit it.

    Answers: ``text`` string ``[B]`` (``[B, N]`` of several sequences), the continuation without the prompt.
    """

    name = "generate"
    inputs = {"prompt": tf.TensorSpec([None], tf.string, name="prompt")}
    limits = ("pattern", "choices", "blocked_patterns", "speculates")
    reads_documents = True
    fills_rows = True

    def __init__(
        self,
        pretrained,
        *,
        max_length=None,
        max_new_tokens=None,
        temperature=0.0,
        top_k=0,
        top_p=1.0,
        chat: bool | None = None,
        system: str | None = None,
        crosses_documents: bool = False,
        prompt_template: str | None = None,
        prompt_cut: str = "start",
        answers_in_parts: bool = False,
        parts_joined_by: str = " ",
        prefix_attention: bool = False,
        begins_with_end_token: bool = False,
        packs_rows: bool = False,
        knobs: Mapping[str, Any] | None = None,
        num_sequences: int = 1,
        num_beams: int = 1,
        length_penalty: float = 1.0,
        pattern: str | None = None,
        choices: Sequence[str] | None = None,
        blocked_patterns: Sequence[str] = (),
        speculates: int = 0,
    ):
        if not pretrained.is_decoder:
            raise UserError(f"generate needs a GPT-style model. {pretrained.source} is {pretrained.family.MODEL_TYPE}.")
        self.knobs = dict(knobs or {})
        for name in ("max_new_tokens", "temperature", "top_k", "top_p"):
            if name in self.knobs:
                raise UserError(f"{name} is an option of its own: {name}={self.knobs[name]!r}. Take it out of knobs.")
        self.defaults = read_defaults(self.knobs | {"temperature": temperature, "top_k": top_k, "top_p": top_p})
        self.crosses_documents = crosses_documents
        self.prefix_attention, self.packs_rows = prefix_attention, packs_rows
        self.begins_with_end_token = begins_with_end_token
        super().__init__(pretrained, max_length=max_length)
        self.max_new_tokens = max_new_tokens or min(128, self.max_length // 2)
        if not 0 < self.max_new_tokens < self.max_length:
            raise UserError(
                f"max_new_tokens must lie between 1 and max_length - 1. Received {self.max_new_tokens} with "
                f"max_length={self.max_length}."
            )
        self.defaults["max_new_tokens"] = self.max_new_tokens
        for name, value in (("num_sequences", num_sequences), ("num_beams", num_beams)):
            if value < 1:
                raise UserError(f"{name} must be 1 at least. Received {value}.")
        if num_sequences > 1 and num_beams > 1:
            raise UserError(
                "num_sequences draws several texts, num_beams searches for the likeliest: give one of them. Received "
                f"num_sequences={num_sequences}, num_beams={num_beams}."
            )
        if not isinstance(speculates, int) or speculates < 0:
            raise UserError(f"speculates is a number of tokens, 0 for none. Received {speculates!r}.")
        self.writer = Writer(
            self,
            self.defaults,
            num_sequences=num_sequences,
            num_beams=num_beams,
            length_penalty=length_penalty,
            speculates=speculates,
        )
        if chat is False and system is not None:
            raise UserError("A system text belongs to a chat. Received one with chat=False.")
        self.system = system
        self.turn = read_turn(self.tokenizer, system) if chat or system is not None else None
        self.limits_on_text = {"pattern": pattern, "choices": choices, "blocked_patterns": blocked_patterns}
        self.writer.grammar = self._grammar(pattern, choices, blocked_patterns)
        if prompt_cut not in ("start", "end"):
            raise UserError(f"prompt_cut must be start or end. Received {prompt_cut!r}.")
        self.prompt_template, self.prompt_cut = prompt_template, prompt_cut
        self.answers_in_parts, self.parts_joined_by = answers_in_parts, parts_joined_by
        head, tail = _around(prompt_template)
        self.frame = (self.turn or PLAIN).around(head, tail)
        around = self.frame.length(self.tokenizer)
        if around >= self.max_length - self.max_new_tokens:
            raise UserError(
                f"The {'chat' if self.turn else 'prompt'} template writes {around} tokens around a text, which leave "
                f"no room for it in max_length={self.max_length} with max_new_tokens={self.max_new_tokens}."
            )

        before = () if self.turn is not None else self.start_ids
        self.room_of_prompt = self.max_length - self.max_new_tokens - len(before) - around  # tokens of its own
        if answers_in_parts and self.room_of_prompt < LEAST_ROOM:
            raise UserError(
                f"answers_in_parts needs room for {LEAST_ROOM} tokens of a prompt. max_length={self.max_length} and "
                f"max_new_tokens={self.max_new_tokens} leave {self.room_of_prompt}."
            )
        if answers_in_parts and self.writer.grammar is not None and self.writer.grammar.is_whole:
            raise UserError("answers_in_parts joins answers, which then match no pattern or choice. Give one of them.")

    def _grammar(self, pattern, choices, blocked) -> Grammar | None:
        """What may be written, where anything is said about it."""
        if isinstance(blocked, str) or isinstance(choices, str):
            raise UserError("choices and blocked_patterns are lists of texts. Received a text.")
        if pattern is None and choices is None and not blocked:
            return None
        is_whole = pattern is not None or choices is not None
        if is_whole and self.stop_id is None:
            raise UserError("pattern and choices need a model with a token that ends a text. This tokenizer has none.")
        if is_whole and self.defaults["stop"]:
            raise UserError("stop would cut an answer that is held to a pattern or to choices. Give one of them.")
        automaton = automaton_of(pattern=pattern, choices=choices, blocked=blocked)
        first, later = self.tokenizer.written()
        grammar = Grammar(automaton, first, later, self.backbone.vocabulary_size, is_whole=is_whole)
        if grammar.shortest > self.max_new_tokens:
            raise UserError(
                f"The shortest answer that matches has {grammar.shortest} tokens. max_new_tokens is "
                f"{self.max_new_tokens}: give it more."
            )
        return grammar

    def build(self, backbone):
        """A model from ``token_ids`` and ``padding_mask`` to next-token logits ``[B, T, V]``."""
        return LanguageModel(backbone, name="generate")

    @property
    def end_id(self) -> int | None:
        """The token that ends a text, or None."""
        return self.tokenizer.special_ids.get("eos")

    @property
    def start_ids(self) -> tuple[int, ...]:
        """The tokens with which a document and a prompt begin that is no chat."""
        before = tuple(self.tokenizer.template.before)
        return (self.end_id,) if self.begins_with_end_token and not before and self.end_id is not None else before

    @property
    def stop_id(self) -> int | None:
        """The token that ends an answer, or None."""
        return self.end_id if self.turn is None or self.turn.end_id is None else self.turn.end_id

    def tokenize(self, inputs):
        """Rows of documents (``text``), of prompts (``prompt``), or of prompts with their answers (and ``answer``).

        Prompts and documents begin with ``start_ids``; documents and answers get the end token behind them. Prompts
        keep ``max_length - max_new_tokens`` tokens, whether they have an answer or not, answers what is left of
        ``max_length``.

        Returns:
            As ``Task.tokenize``, without offsets; with answers also ``learned`` ragged int32 ``[B, None]``: 1 for their
            tokens.
        """
        if "text" in inputs:
            ids = begin(self.start_ids, self.tokenizer.tokenize(inputs["text"]).ids)
            ids = tf.concat([ids, self._ends(ids, self.end_id)], axis=1)
            return {"token_ids": ids, "row": tf.range(ids.nrows(out_type=tf.int32))}
        if "answer" in inputs:
            return self.framed(inputs["prompt"], inputs["answer"])
        ids = self._prompts(inputs["prompt"])
        return {"token_ids": ids, "row": tf.range(ids.nrows(out_type=tf.int32))}

    def framed(self, prompts, answers, *, ends: bool = True):
        """Rows of prompts with their answers ``[B]``, the token behind them that ends an answer or not.

        Returns:
            As ``tokenize``, with ``learned``.
        """
        ids = self._prompts(prompts)
        answers = self.tokenizer.tokenize(answers, special_tokens_in_text=self.turn is None).ids
        if ends:
            answers = tf.concat([answers, self._ends(answers, self.stop_id)], axis=1)
        answers = cut(answers, tf.minimum(answers.row_lengths(), self.max_length - ids.row_lengths()))
        return {
            "token_ids": tf.concat([ids, answers], axis=1),
            "learned": tf.concat([tf.zeros_like(ids), tf.ones_like(answers)], axis=1),
            "row": tf.range(ids.nrows(out_type=tf.int32)),
        }

    def _prompts(self, prompts):
        """Ids of prompts ``[B]`` in their frame, ragged int32 ``[B, None]``; what is too long is cut."""
        longest = self.max_length - self.max_new_tokens
        before = () if self.turn is not None else self.start_ids
        ids = self.frame.tokenize(self.tokenizer, prompts, longest - len(before), cut=self.prompt_cut)
        return fill_empty(begin(before, ids), start_id(self.tokenizer))  # an empty one starts where a new text would

    @staticmethod
    def _ends(ids, end_id: int | None):
        """The end token for each row of ids, int32 ``[B, 1]``, or ``[B, 0]``."""
        ends = [] if end_id is None else [end_id]
        return tf.tile(tf.constant([ends], tf.int32, shape=(1, len(ends))), [ids.nrows(), 1])

    def columns_in(self, examples):
        """The columns of the one kind of examples that these are; see ``LEARNS_FROM``."""
        found = [columns for columns in LEARNS_FROM.values() if all(name in examples for name in columns)]
        if len(found) == 1:
            return found[0]
        several = "two kinds of examples" if found else "none of them"
        raise UserError(
            "generate learns from the column text, from prompt and answer, or from messages. "
            f"{examples.source} has {several}: {', '.join(examples)}. Say which columns are meant: "
            "columns: {prompt: ..., answer: ...}."
        )

    def exchanges(self, examples: Examples) -> Exchanges | None:
        """Prompts with answers, or conversations, as token ids; None of running text."""
        columns = self.columns_in(examples)
        if "text" in columns:
            return None
        if self.crosses_documents:
            raise UserError("crosses_documents is for running text: answers never look into another row's. Leave it.")
        if "prompt" in columns:
            return read_pairs(self, examples)
        if self.turn is None:
            raise UserError(
                "Messages are learned as the model's chat template frames them, and prompts are to be framed alike: "
                "give the task chat=True (task: {options: {chat: true}})."
            )
        if self.prompt_template is not None:
            raise UserError("prompt_template is for prompts with answers; messages are framed by the chat template.")
        return read_conversations(
            self.tokenizer,
            examples["messages"].tolist(),
            max_length=self.max_length,
            system=self.system,
            cut=self.prompt_cut,
            source=examples.source,
        )

    def targets(self, examples, tokens):
        """The next token of each position, ragged ``[W, None]``; the last one has none and weighs 0.

        With ``learned`` among the tokens those that precede no such token weigh 0, too.
        """
        ids = tokens["token_ids"]
        following = tf.concat([ids[:, 1:], tf.zeros_like(ids[:, :1])], axis=1)
        learned = tokens.get("learned", tf.ones_like(ids))
        weights = tf.concat([learned[:, 1:], tf.zeros_like(ids[:, :1])], axis=1)
        return following, tf.cast(weights, tf.float32)

    def pack(self, tokens, length):
        """As ``Task.pack``; with ``prefix_attention`` and ``learned`` also ``prefix_mask``: 1 before the first such."""
        features = super().pack(tokens, length)
        if self.prefix_attention and "learned" in tokens:
            not_learned = 1 - dense(tokens["learned"], length, 1)
            features["prefix_mask"] = tf.math.cumprod(not_learned, axis=1)
        return features

    def rows(self, documents):
        """Blocks of ``max_length``, each document between the tokens that begin and end one.

        Of documents that are joined each one's first token is predicted from the end of that before it.
        """
        before, after = self.start_ids, () if self.end_id is None else (self.end_id,)
        if self.crosses_documents:
            spans = packing.joined(documents, self.max_length, before=self.tokenizer.template.before, after=after)
        else:
            if before != tuple(self.tokenizer.template.before):
                documents = documents.without(before[0])
            spans = packing.packed(documents, self.max_length, before=before, after=after)
        return replace(spans, tags=NUMBER * spans.tags + LEARNED)

    def prepare(self, tokens, length, is_real, keys):
        """Rows and the next token of each position; it weighs 0 where it is another document's or not to be learned."""
        features = self.pack({"token_ids": tokens["token_ids"]}, length)
        tags = dense(tokens["tags"], length)  # [B, T], 0 for padding; see kzoo.data.exchanges
        documents = tags // NUMBER
        if not self.crosses_documents:
            features["document_ids"] = documents
        if self.prefix_attention:
            features["prefix_mask"] = tf.bitwise.bitwise_and(tags, PREFIX) // PREFIX
        targets, _ = self.targets({}, tokens)
        is_same = tf.pad(documents[:, 1:] == documents[:, :-1], [[0, 0], [0, 1]])
        is_learned = tf.pad(tf.bitwise.bitwise_and(tags, LEARNED)[:, 1:] > 0, [[0, 0], [0, 1]])
        weights = tf.cast(is_same & is_learned, tf.float32) * is_real[:, tf.newaxis]
        return features, dense(targets, length), weights

    def serve(self, inputs):
        """From prompts ``[B]`` to ``text`` ``[B]`` (or ``[B, N]``), with the task's own settings."""
        return {"text": self.writer.answer(inputs["prompt"])}

    def signatures(self):
        """The plain answer, and those of ``Writer.signatures``."""
        return super().signatures() | self.writer.signatures()

    def compiled_signatures(self):
        return self.writer.compiled_signatures()

    @property
    def most_tokens(self):
        """Most tokens of a prompt, which leave room for the new ones."""
        return self.max_length - self.max_new_tokens

    def answer_tokens(self, tokens, length):
        """Continues prompts of token ids with the task's own settings.

        Returns:
            ``token_ids`` int32 ``[B, L]``, the new tokens, and ``count`` int32 ``[B]`` of them; of several sequences
            ``[B, N, L]`` and ``[B, N]``. What stands behind a row's tokens means nothing.
        """
        ids = tokens["token_ids"]
        found = self.writer.continue_tokens(ids.to_tensor(0), tf.cast(ids.row_lengths(), tf.int32))
        return {name: found[name] for name in ("token_ids", "count")}

    def generate(self, prompts, *, batch_size: int = 8, **knobs) -> list[Any]:
        """Continues prompts from Python.

        Args:
            prompts: a text or a list of texts.
            batch_size: prompts at once.
            knobs: of ``kzoo.tasks.knobs.KNOBS``: ``max_new_tokens``, ``temperature``, ``stop``, ...; one value for
                all prompts. ``stop`` and ``blocked_words`` may be lists, ``logit_bias`` a dict.

        Returns:
            The text of each prompt; with ``num_sequences`` a list of texts of each.

        Raises:
            UserError: a knob that does not exist, or more new tokens than the task allows.
        """
        values, write = self.writer.values(KNOBS, **knobs), self.writer.function("generate")
        answers = self._in_batches(lambda inputs: write(**inputs, **values), self._columns(prompts), batch_size)
        return [answer["text"] for answer in answers]

    def search(self, prompts, *, batch_size: int = 8, **knobs) -> list[str]:
        """The likeliest continuations of prompts by beam search, of a task with ``num_beams``.

        Args:
            prompts: a text or a list of texts.
            batch_size: prompts at once.
            knobs: of ``kzoo.tasks.knobs.BEAM_KNOBS``; one value for all prompts.

        Raises:
            UserError: the task has no beams, or a beam search no such knob.
        """
        if self.writer.num_beams == 1:
            raise UserError("A beam search needs a task with num_beams above 1: Generate(..., num_beams=4).")
        values, search = self.writer.values(BEAM_KNOBS, **knobs), self.writer.function("beam")
        answers = self._in_batches(lambda inputs: search(**inputs, **values), self._columns(prompts), batch_size)
        return [answer["text"][0] for answer in answers]

    def score(self, texts, prompts="", *, batch_size: int = 8) -> list[dict[str, Any]]:
        """How likely texts are, behind prompts or where a text begins.

        Args:
            texts: a text or a list of texts.
            prompts: one for all, or one for each.
            batch_size: texts at once.

        Returns:
            For each ``log_probability``, ``perplexity`` of a token, and ``count`` of its tokens.
        """
        texts = [texts] if isinstance(texts, str) else list(texts)
        prompts = [prompts] * len(texts) if isinstance(prompts, str) else list(prompts)
        if len(prompts) != len(texts):
            raise UserError(f"score takes a prompt for each text. Received {len(prompts)} for {len(texts)} texts.")
        columns = {
            name: np.array([one.encode() for one in value], object)
            for name, value in (("text", texts), ("prompt", prompts))
        }
        score = self.writer.function("score")
        return self._in_batches(lambda inputs: score(**inputs), columns, batch_size)

    def forget_traces(self):
        """Lets what ``predict`` and ``generate`` call be traced anew, after the model's layers have changed."""
        super().forget_traces()
        self.writer.forget_traces()

    def loss(self):
        return keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="mean_with_sample_weight")

    def metrics(self):
        return [CountedAccuracy(name="accuracy")]

    def options(self):
        names = ("crosses_documents", "prompt_template", "prefix_attention", "begins_with_end_token", "packs_rows")
        given = {name: getattr(self, name) for name in names}
        return super().options() | {
            "max_new_tokens": self.max_new_tokens,
            **{name: self.defaults[name] for name in ("temperature", "top_k", "top_p")},
            **({"chat": True, "system": self.system} if self.turn is not None else {}),
            **{name: value for name, value in given.items() if value},
            **({"prompt_cut": self.prompt_cut} if self.prompt_cut != "start" else {}),
            **({"answers_in_parts": True, "parts_joined_by": self.parts_joined_by} if self.answers_in_parts else {}),
            **({"knobs": self.knobs} if self.knobs else {}),
            **self.writer.options(),
            **{name: value for name, value in self.limits_on_text.items() if value},
        }

    def example_inputs(self):
        return {"prompt": ["Once upon a time" if self.turn is None else "What is the capital of France?"]}


def _around(template: str | None) -> tuple[str, str]:
    """What stands before and behind the prompt."""
    if template is None:
        return "", ""
    if not isinstance(template, str) or template.count("{prompt}") != 1:
        raise UserError(f"prompt_template must hold {{prompt}} once, where the prompt goes. Received {template!r}.")
    head, _, tail = template.partition("{prompt}")
    return head, tail
