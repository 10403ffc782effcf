"""Continuing a text, or answering one turn of a chat: greedy or sampled."""

from collections.abc import Callable
from dataclasses import replace

import keras
import numpy as np
import tensorflow as tf

from kzoo.data import packing
from kzoo.data.examples import Examples
from kzoo.data.exchanges import LEARNED, NUMBER, PREFIX, Exchanges
from kzoo.errors import UserError
from kzoo.generation import controls
from kzoo.generation.decode import decode
from kzoo.models.gpt import LanguageModel
from kzoo.tasks.chat import PLAIN, read_turn
from kzoo.tasks.conversations import read_conversations
from kzoo.tasks.counting import CountedAccuracy
from kzoo.tasks.framing import begin, cut, dense, fill_empty, start_id
from kzoo.tasks.pairs import read_pairs
from kzoo.tasks.task import Signature, Task

# B texts, T length, V vocabulary

KNOBS = {
    "max_new_tokens": (tf.int32, "most tokens to add"),
    "temperature": (tf.float32, "0 takes the likeliest token; below 1 sharpens, above 1 flattens"),
    "top_k": (tf.int32, "draw among the k likeliest tokens; 0 for all"),
    "top_p": (tf.float32, "draw among the fewest tokens whose probabilities reach p; 1 for all"),
    "seed": (tf.int32, "the same seed gives the same text"),
}

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
        prefix_attention: whether the tokens of a prompt look at one another both ways (a prefix language model, Raffel
            et al. 2020, section 3.2.1). A model that was pretrained looking back only has to learn it.
        begins_with_end_token: whether documents in training and prompts in requests begin with the token that ends
            texts, where the tokenizer's template puts none before them (GPT-2's). Then the first word of a document is
            learned, too, and an empty prompt is where a text begins. For models that are trained with it from the
            start: published ones of the kind are asked without it, and what stands at the first position is not theirs
            to choose anew. Joined documents (``crosses_documents``) learn their first words in any case.
        packs_rows: whether training fills its blocks with several answers or conversations, each read as if it stood
            alone. By default each has a row of its own.

    Raises:
        UserError: the model is not a decoder or has no chat template, or a length does not fit it.

    Answers: ``text`` string ``[B]``, the continuation without the prompt.
    """

    name = "generate"
    inputs = {"prompt": tf.TensorSpec([None], tf.string, name="prompt")}
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
        prefix_attention: bool = False,
        begins_with_end_token: bool = False,
        packs_rows: bool = False,
    ):
        if not pretrained.is_decoder:
            raise UserError(f"generate needs a GPT-style model. {pretrained.source} is {pretrained.family.MODEL_TYPE}.")
        self.defaults = {"temperature": float(temperature), "top_k": int(top_k), "top_p": float(top_p), "seed": 0}
        self._complete: Callable | None = None
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
        if chat is False and system is not None:
            raise UserError("A system text belongs to a chat. Received one with chat=False.")
        self.system = system
        self.turn = read_turn(self.tokenizer, system) if chat or system is not None else None
        if prompt_cut not in ("start", "end"):
            raise UserError(f"prompt_cut must be start or end. Received {prompt_cut!r}.")
        self.prompt_template, self.prompt_cut = prompt_template, prompt_cut
        head, tail = _around(prompt_template)
        self.frame = (self.turn or PLAIN).around(head, tail)
        around = self.frame.length(self.tokenizer)
        if around >= self.max_length - self.max_new_tokens:
            raise UserError(
                f"The {'chat' if self.turn else 'prompt'} template writes {around} tokens around a text, which leave "
                f"no room for it in max_length={self.max_length} with max_new_tokens={self.max_new_tokens}."
            )

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
        ids = self._prompts(inputs["prompt"])
        if "answer" not in inputs:
            return {"token_ids": ids, "row": tf.range(ids.nrows(out_type=tf.int32))}
        answers = self.tokenizer.tokenize(inputs["answer"], special_tokens_in_text=self.turn is None).ids
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

    def postprocess(self, outputs, inputs, tokens):
        """The text of new tokens ragged ``[B, None]``."""
        return {"text": self.tokenizer.detokenize(outputs)}

    def complete(self, prompt, max_new_tokens, temperature, top_k, top_p, seed) -> dict[str, tf.Tensor]:
        """Continues prompts ``[B]``, each knob ``[B]`` or ``[1]``: the function of the signature ``generate``."""
        batch_size = tf.shape(prompt)[0]
        missing = tf.cast(batch_size == 0, tf.int32)  # no rows are read as one empty prompt, whose answer is dropped
        rows = batch_size + missing

        def each_row(value):
            value = tf.concat([value, tf.zeros([missing], value.dtype)], 0)
            return tf.broadcast_to(value[:rows], [rows])

        tokens = self.tokenize({"prompt": tf.concat([prompt, tf.fill([missing], "")], 0)})
        ids = tokens["token_ids"]
        knobs = dict(temperature=temperature, top_k=top_k, top_p=top_p, seed=seed)
        knobs = {name: each_row(value) for name, value in knobs.items()}
        most = tf.minimum(each_row(max_new_tokens), self.max_new_tokens)
        found = decode(
            self.backbone,
            ids.to_tensor(0),
            tf.cast(ids.row_lengths(), tf.int32),
            controls.plain(rows, max_new_tokens=most, **knobs),
            end_ids=() if self.stop_id is None else (self.stop_id,),
            sees_whole_prompt=self.prefix_attention,
        )
        answers = tf.RaggedTensor.from_tensor(found.token_ids, found.counts)[:batch_size]
        return self.postprocess(answers, {"prompt": prompt}, tokens)

    def serve(self, inputs):
        """From prompts ``[B]`` to ``text`` ``[B]``, with the task's own settings."""
        knobs = {name: tf.constant([self.defaults[name]], dtype) for name, (dtype, _) in KNOBS.items()}
        return self.complete(inputs["prompt"], **knobs)

    def signatures(self):
        """The plain answer, and ``generate`` with every knob as a vector ``[B]``."""
        knobs = {name: tf.TensorSpec([None], dtype, name=name) for name, (dtype, _) in KNOBS.items()}
        defaults = {name: np.array([self.defaults[name]], dtype.as_numpy_dtype) for name, (dtype, _) in KNOBS.items()}
        return super().signatures() | {"generate": Signature(self.complete, self.inputs | knobs, defaults)}

    def generate(self, prompts, *, batch_size: int = 8, **knobs) -> list[str]:
        """Continues prompts from Python.

        Args:
            prompts: a text or a list of texts.
            batch_size: prompts at once.
            knobs: ``max_new_tokens``, ``temperature``, ``top_k``, ``top_p``, ``seed``; one value for all prompts.

        Raises:
            UserError: a knob that does not exist, or more new tokens than the task allows.
        """
        unknown = sorted(set(knobs) - set(KNOBS))
        if unknown:
            raise UserError(f"generate has no knob {', '.join(unknown)}; it has {', '.join(KNOBS)}.")
        if knobs.get("max_new_tokens", 0) > self.max_new_tokens:
            raise UserError(
                f"max_new_tokens must not exceed the task's {self.max_new_tokens}. Received {knobs['max_new_tokens']}."
            )
        values = [tf.constant([(self.defaults | knobs)[name]], dtype) for name, (dtype, _) in KNOBS.items()]
        if self._complete is None:
            specs = list(self.signatures()["generate"].inputs.values())
            self._complete = tf.function(self.complete, input_signature=specs, autograph=False)
        complete = self._complete
        columns = self._columns(prompts)
        answers = self._in_batches(lambda inputs: complete(*inputs.values(), *values), columns, batch_size)
        return [answer["text"] for answer in answers]

    def forget_traces(self):
        """Lets what ``predict`` and ``generate`` call be traced anew, after the model's layers have changed."""
        super().forget_traces()
        self._complete = None

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
