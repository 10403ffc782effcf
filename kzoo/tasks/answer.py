"""Answering questions by a span of a passage, or by none (Devlin et al. 2019, section 4.3).

A long passage is read in windows that overlap, each with the question before it. The best span over all windows is the
answer, unless "no answer", which stands at the first token of a row, is better by more than a threshold.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from kzoo import metrics
from kzoo.data.squad import checked_answers, listed_answers
from kzoo.errors import UserError
from kzoo.layers.linear import Linear
from kzoo.tasks.chunks import widened
from kzoo.tasks.framing import dense
from kzoo.tasks.published_head import hidden_layer, label_keys
from kzoo.tasks.span_scores import HOPELESS, HideOthers, PlaceAccuracy, SpanLoss
from kzoo.tasks.task import Signature, Task
from kzoo.tasks.windows import windows

# B texts (questions with their passages), W windows, T length, A answer tokens, C candidates

CANDIDATES = 20
"""Spans of a passage whose scores are compared (SQuAD's usual ``n_best_size``)."""
USUAL_LENGTH, USUAL_QUESTION = 384, 64
NOWHERE = -1


class Candidates(NamedTuple):
    """The best spans of each passage, the best one first.

    Attributes:
        logits: float32 ``[B, C]``, the sums of the logits of first and last token; ``2 * HOPELESS`` or near it where
            there are no more spans.
        starts: int32 ``[B, C]``, in code points of the passage.
        ends: int32 ``[B, C]``, exclusive.
        nothing: float32 ``[B]``, the same sum for "no answer": the least of the windows.
    """

    logits: tf.Tensor
    starts: tf.Tensor
    ends: tf.Tensor
    nothing: tf.Tensor

    @property
    def exist(self) -> tf.Tensor:
        """Which of them there are, bool ``[B, C]``."""
        return self.logits > HOPELESS / 2

    @property
    def margins(self) -> tf.Tensor:
        """How much more "no answer" is favoured than the best span, float32 ``[B]``."""
        return self.nothing - self.logits[:, 0]

    def scores(self, *, no_answer: bool) -> tf.Tensor:
        """Their shares of the probability, float32 ``[B, 1 + C]``: that of "no answer" first, 0 if it is none."""
        nothing = self.nothing if no_answer else tf.fill(tf.shape(self.nothing), 2 * HOPELESS)
        logits = tf.concat([nothing[:, tf.newaxis], self.logits], axis=1)
        return tf.where(logits > HOPELESS / 2, tf.nn.softmax(logits), 0.0)


class Answer(Task):
    """Answers a question by a span of a passage of any length, or says that the passage does not answer it.

    The passage is read in windows of at most ``max_length`` tokens, the question before each: ``[CLS] question [SEP]
    part of the passage [SEP]``, or as the tokenizer's template for pairs has it. Of overlapping windows each token is
    judged as the beginning of an answer where it has most context. A span's logit is the sum of those of its first and
    last token; "no answer" has that of the first token of the row, of the windows the least one (Rajpurkar et al. 2018;
    Devlin et al. 2019). The score is a softmax over the 20 best spans and "no answer".

    Args:
        pretrained: what ``kzoo.load`` returned; an encoder.
        max_length: most tokens of a window, question and special tokens included; by default 384 or what the model
            reads.
        stride: tokens of the passage from the beginning of a window to that of the next; by default a third of
            ``max_length``.
        max_question_tokens: a question that is longer loses its end; by default 64, or a quarter of ``max_length``.
        max_answer_tokens: of the longest answer.
        no_answer: whether a passage may have no answer. False always gives the best span, as SQuAD 1.1 asks.
        threshold: "no answer" is given where its logit is above the best span's by more than this; from the validation
            data (``kzoo evaluate --learn-threshold``).
        num_answers: answers of the signature ``n_best``.

    Raises:
        UserError: a decoder, or lengths that leave no room for the passage.

    Inputs: ``question``, ``context``, strings ``[B]``.

    Answers: ``answer`` string, ``score`` float32, ``start`` and ``end`` int32, all ``[B]``: code points of the passage,
    so that ``context[start:end] == answer``. "No answer" is the empty string, from -1 to -1, with its own score.

    The column ``answers`` of the examples holds a list of ``{"text", "answer_start"}`` each, empty where there is no
    answer: what ``kzoo.data.read`` makes of SQuAD's files. The first one is learned.
    """

    name = "answer"
    can_be_compiled = True
    columns = {"question": "string", "context": "string", "answers": "list"}
    inputs = {
        "question": tf.TensorSpec([None], tf.string, name="question"),
        "context": tf.TensorSpec([None], tf.string, name="context"),
    }

    def __init__(
        self,
        pretrained,
        *,
        max_length: int | None = None,
        stride: int | None = None,
        max_question_tokens: int | None = None,
        max_answer_tokens: int = 30,
        no_answer: bool = True,
        threshold: float = 0.0,
        num_answers: int = 5,
    ):
        if pretrained.is_decoder:
            raise UserError(
                "The task answer needs a model that reads the whole row both ways, such as BERT. "
                f"{pretrained.source or pretrained.family.MODEL_TYPE} reads from left to right."
            )
        template = pretrained.tokenizer.template
        if not template.before:
            raise UserError(
                'The task answer needs a tokenizer whose rows begin with a token: it stands for "no answer".'
            )
        for name, value in (("max_answer_tokens", max_answer_tokens), ("num_answers", num_answers)):
            if value < 1:
                raise UserError(f"{name} must be at least 1. Received {value}.")
        if num_answers > CANDIDATES:
            raise UserError(f"num_answers must be {CANDIDATES} or less. Received {num_answers}.")
        if not np.isfinite(threshold):
            raise UserError(f"threshold must be a number; no_answer: false always answers. Received {threshold}.")
        limit = min(pretrained.backbone.num_positions, pretrained.tokenizer.max_length or 2**31, USUAL_LENGTH)
        max_length = max_length or limit
        self.stride = max(max_length // 3, 1) if stride is None else stride
        self.max_question_tokens = (
            min(USUAL_QUESTION, max_length // 4) if max_question_tokens is None else max_question_tokens
        )
        self.max_answer_tokens = max_answer_tokens
        self.no_answer = no_answer
        self.threshold = float(threshold)
        self.num_answers = num_answers
        special = len(template.before) + len(template.between) + len(template.after)
        room = max_length - special - self.max_question_tokens
        if self.stride < 1 or self.max_question_tokens < 1 or room < self.stride:
            raise UserError(
                "max_length must hold the longest question, the special tokens, and stride tokens of the passage or "
                f"more. Received max_length={max_length}, max_question_tokens={self.max_question_tokens}, "
                f"stride={self.stride}, and {special} special tokens."
            )
        super().__init__(pretrained, max_length=max_length)
        self.import_head()
        self._n_best = None

    # -- the model ------------------------------------------------------------------------------------------------

    def build(self, backbone):
        """A model from ``token_ids``, ``padding_mask``, ``choices`` and, where there are, ``segment_ids``.

        Its output is float32 ``[W, T, 2]``: the logits of first and last token, hopeless where ``choices`` is 0.
        """
        names = ["token_ids", "padding_mask", *(["segment_ids"] if self._has_segments(backbone) else [])]
        inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in names}
        choices = keras.Input((None,), dtype="int32", name="choices")
        x = backbone(inputs)["sequence_output"]
        self.hidden = hidden_layer(self.pretrained, self.name)
        if self.hidden is not None:
            x = self.hidden(x)
        self.head = Linear(2, name="head", dtype="float32")
        logits = HideOthers(name="hide_others", dtype="float32")(self.head(x), choices)
        return keras.Model(inputs | {"choices": choices}, logits, name=self.name)

    def _has_segments(self, backbone) -> bool:
        """Whether the model is told which tokens are of the passage."""
        segments = getattr(backbone, "segment_embedding", None)
        return self.tokenizer.template.segments and segments is not None and segments.vocabulary_size > 1

    def loss(self):
        return SpanLoss(reduction="mean_with_sample_weight")

    def metrics(self):
        return [PlaceAccuracy(0, name="start_accuracy"), PlaceAccuracy(1, name="end_accuracy")]

    answer_measures = ("exact_match", "f1")

    def answer_figures(self, examples, *, batch_size):
        """SQuAD's exact match and F1, with the threshold as it is."""
        right = [[answer["text"] for answer in listed_answers("An example", one)] for one in examples["answers"]]
        asked = {name: examples[name].tolist() for name in self.inputs}
        found = self.best_answers(asked, batch_size=batch_size)
        pairs = [(self.chosen(one), answers) for one, answers in zip(found, right, strict=True)]
        measures = zip(self.answer_measures, (metrics.answer_exact, metrics.answer_f1), strict=True)
        return {name: float(np.mean([measure(*pair) for pair in pairs])) for name, measure in measures}

    def chosen(self, best: Mapping[str, Any]) -> str:
        """The answer of one of ``best_answers``, by the threshold."""
        if not best["count"] or (self.no_answer and best["margin"] > self.threshold):
            return ""
        return best["answer"][0]

    def options(self):
        names = ("stride", "max_question_tokens", "max_answer_tokens", "no_answer", "threshold", "num_answers")
        return super().options() | {name: getattr(self, name) for name in names}

    def published(self):
        # transformers gives the head as many outputs as there are labels
        return super().published() | label_keys(("LABEL_0", "LABEL_1"))

    def example_inputs(self):
        return {
            "question": ["What does the zoo serve?"],
            "context": ["It is a model zoo, and it serves what it trains: text in, text out."],
        }

    # -- from strings to windows ----------------------------------------------------------------------------------

    def tokenize(self, inputs):
        """Windows over the passages, the question before each.

        Returns:
            ``token_ids``, ``starts``, ``ends`` (in code points of the passage), ``segment_ids`` where the model has
            them, ``choices`` (1 for the first token and those of the passage) and ``judged`` (1 for tokens of the
            passage at which this window rather than another one may begin an answer), all ragged int32 ``[W, None]``,
            and ``row`` int32 ``[W]``.
        """
        template = self.tokenizer.template
        question = self.tokenizer.tokenize(inputs["question"]).ids[:, : self.max_question_tokens]
        passage = self.tokenizer.tokenize(inputs["context"])
        special = len(template.before) + len(template.between) + len(template.after)
        room = self.max_length - special - tf.cast(question.row_lengths(), tf.int32)  # [B]
        made = windows(passage.ids.row_lengths(), room, self.stride)
        question, judged = tf.gather(question, made.row), made.judged()
        nothing, number = tf.zeros_like(question), tf.size(made.row)

        def joined(before: Sequence[int], first, between: Sequence[int], second, after: Sequence[int]):
            columns = (tf.constant(values, tf.int32, shape=[1, len(values)]) for values in (before, between, after))
            begin, middle, end = (tf.RaggedTensor.from_tensor(tf.tile(one, [number, 1])) for one in columns)
            return tf.concat([begin, first, middle, second, end], axis=1)

        def beside(second, *, first_token: int = 0, after: int = 0):
            begin = [first_token, *[0] * (len(template.before) - 1)]
            return joined(begin, nothing, [0] * len(template.between), second, [after] * len(template.after))

        ids = joined(template.before, question, template.between, made.of(passage.ids), template.after)
        tokens = {
            "token_ids": ids,
            "starts": beside(made.of(passage.starts)),
            "ends": beside(made.of(passage.ends)),
            "choices": beside(tf.ones_like(judged), first_token=1),
            "judged": beside(judged),
            "row": made.row,
        }
        if self._has_segments(self.backbone):
            tokens["segment_ids"] = beside(tf.ones_like(judged), after=1)
        return tokens

    def pack(self, tokens, length):
        """As other tasks', with ``choices``."""
        return super().pack(tokens, length) | {"choices": dense(tokens["choices"], length)}

    def targets(self, examples, tokens):
        """The places of the first answer's first and last token in each window.

        Returns:
            int32 ``[W, 2]`` and weights of 1 ``[W, 2]``. A window without the whole answer is to find none: both places
            are 0, the first token. An answer without a token, white space for example, weighs 0.

        Raises:
            UserError: an answer that does not stand where it should; says which row.
        """
        rows = tokens["row"].numpy()  # [W]
        begins, ends, has_answer = self._first_answers(examples)
        lengths = tokens["choices"].row_lengths().numpy()
        window = np.repeat(np.arange(len(rows)), lengths)  # of each token
        row = rows[window]
        place = np.arange(len(window)) - np.repeat(tokens["choices"].row_starts().numpy(), lengths)
        flat = {name: tokens[name].flat_values.numpy() for name in ("starts", "ends", "choices", "judged")}
        within = (flat["choices"] > 0) & (place > 0) & has_answer[row]
        within &= (flat["ends"] > begins[row]) & (flat["starts"] < ends[row])
        here = np.bincount(window[within], minlength=len(rows))  # of the answer's tokens so many in each window
        whole = np.bincount(row[within & (flat["judged"] > 0)], minlength=len(begins))
        found = (here > 0) & (here == whole[rows])
        first, last = np.full(len(rows), np.iinfo(np.int32).max), np.zeros(len(rows), np.int64)
        np.minimum.at(first, window[within], place[within])
        np.maximum.at(last, window[within], place[within])
        targets = np.where(found[:, np.newaxis], np.stack([first, last], 1), 0).astype(np.int32)
        can_be_learned = ~has_answer[rows] | (whole[rows] > 0)
        return tf.constant(targets), tf.constant(np.repeat(can_be_learned[:, np.newaxis], 2, 1).astype(np.float32))

    def _first_answers(self, examples) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Begin and end of each example's first answer, and whether there is one."""
        begins, ends = np.zeros([2, len(examples["context"])], np.int64)
        for number, (answers, context) in enumerate(zip(examples["answers"], examples["context"], strict=True)):
            answers = checked_answers(f"Row {number + 1} of the examples", answers, context)
            if answers:
                begins[number] = answers[0]["answer_start"]
                ends[number] = begins[number] + len(answers[0]["text"])
        return begins, ends, ends > begins

    # -- from logits to answers -----------------------------------------------------------------------------------

    def postprocess(self, outputs, inputs, tokens):
        found = self.candidates(outputs, tokens, tf.shape(inputs["context"])[0])
        answered = found.exist[:, 0]
        if self.no_answer:
            answered &= found.margins <= self.threshold
        scores = found.scores(no_answer=self.no_answer)
        start = tf.where(answered, found.starts[:, 0], NOWHERE)
        end = tf.where(answered, found.ends[:, 0], NOWHERE)
        return {
            "answer": _cut_out(inputs["context"], start, end),
            "score": tf.where(answered, scores[:, 1], scores[:, 0]),
            "start": start,
            "end": end,
        }

    def candidates(self, outputs, tokens, num_texts) -> Candidates:
        """The best spans over all windows.

        Args:
            outputs: logits ``[W, T, 2]``.
            tokens: of ``tokenize``.
            num_texts: B.
        """
        length, row = tf.shape(outputs)[1], tokens["row"]
        outputs = tf.cast(outputs, tf.float32)
        in_passage = dense(tokens["choices"], length) * tf.cast(tf.range(length) > 0, tf.int32)  # [W, T]
        first = tf.where(dense(tokens["judged"], length) > 0, outputs[..., 0], HOPELESS)
        last = tf.where(in_passage > 0, outputs[..., 1], HOPELESS)
        most = self.max_answer_tokens
        reach = tf.range(length)[:, tf.newaxis] + tf.range(most)  # [T, A], where an answer may end
        last = tf.gather(tf.pad(last, [[0, 0], [0, most]], constant_values=HOPELESS), reach, axis=1)
        spans = tf.reshape(first[..., tf.newaxis] + last, tf.stack([-1, length * most]))  # [W, T * A]
        logits, places = _top(spans)  # [W, C]
        starts = tf.gather(dense(tokens["starts"], length), places // most, axis=1, batch_dims=1)
        until = tf.minimum(places // most + places % most, length - 1)
        ends = tf.gather(dense(tokens["ends"], length), until, axis=1, batch_dims=1)

        def of_texts(values, fill):
            """Those of all windows of a text beside one another, ``[B, C * most windows]``."""
            gathered = tf.RaggedTensor.from_value_rowids(values, row, tf.cast(num_texts, row.dtype)).to_tensor(fill)
            return tf.reshape(gathered, tf.stack([num_texts, tf.shape(gathered)[1] * CANDIDATES]))

        logits, places = _top(of_texts(logits, 2 * HOPELESS))  # [B, C]
        starts, ends = (_taken(of_texts(values, 0), places) for values in (starts, ends))
        nothing = tf.math.unsorted_segment_min(outputs[:, 0, 0] + outputs[:, 0, 1], row, num_texts)
        return Candidates(logits, starts, ends, nothing)

    def serve_n_best(self, question: tf.Tensor, context: tf.Tensor) -> dict[str, tf.Tensor]:
        """The best spans, whatever the threshold: the signature ``n_best``.

        Returns:
            ``answer``, ``score``, ``start``, ``end`` ``[B, num_answers]``, of which the first ``count`` ``[B]`` are
            meant; ``no_answer_score`` ``[B]``, and ``margin`` ``[B]``: "no answer" is given where it is above the
            threshold.
        """
        inputs = {"question": question, "context": context}
        tokens = self.tokenize(inputs)
        found = self.candidates(self.logits(tokens), tokens, tf.shape(context)[0])
        return self.n_best(found, context)

    def n_best(self, found: Candidates, context: tf.Tensor) -> dict[str, tf.Tensor]:
        """What ``serve_n_best`` answers."""
        exist = found.exist[:, : self.num_answers]
        start, end = (tf.where(exist, values[:, : self.num_answers], NOWHERE) for values in (found.starts, found.ends))
        scores = found.scores(no_answer=self.no_answer)
        passages = tf.broadcast_to(context[:, tf.newaxis], tf.shape(start))
        return {
            "answer": _cut_out(passages, start, end),
            "score": scores[:, 1 : 1 + self.num_answers],
            "start": start,
            "end": end,
            "count": tf.reduce_sum(tf.cast(exist, tf.int32), axis=1),
            "no_answer_score": scores[:, 0],
            "margin": found.margins,
        }

    def signatures(self):
        """The plain answer, and ``n_best``."""
        return super().signatures() | {"n_best": Signature(self.serve_n_best, self.inputs)}

    def answer_tokens(self, tokens, length):
        """Of each token, for ids that another tokenizer made: ``start_logits`` and ``end_logits`` ``[B, T]``."""
        logits = widened(tf.cast(self.logits(tokens), tf.float32), length)  # [B, T, 2]
        return {"start_logits": logits[..., 0], "end_logits": logits[..., 1]}

    def best_answers(self, texts: Mapping[str, Sequence[str]], *, batch_size: int = 32) -> list[dict[str, Any]]:
        """What the signature ``n_best`` answers, in Python: lists of the best answers, the best one first."""
        if self._n_best is None:
            self._n_best = tf.function(
                lambda inputs: self.serve_n_best(**inputs), input_signature=[self.inputs], autograph=False
            )
        answers = self._in_batches(self._n_best, self._columns(texts), batch_size)
        lists = ("answer", "score", "start", "end")
        return [
            {name: value[: one["count"]] if name in lists else value for name, value in one.items()} for one in answers
        ]

    def forget_traces(self):
        super().forget_traces()
        self._n_best = None


def _top(values: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The greatest of each row ``[.., N]`` and their places, both ``[.., C]``; hopeless and 0 where there are fewer."""
    count = tf.minimum(CANDIDATES, tf.shape(values)[1])
    top, places = tf.math.top_k(values, count)
    missing = [[0, 0], [0, CANDIDATES - count]]
    top, places = tf.pad(top, missing, constant_values=2 * HOPELESS), tf.pad(places, missing)
    return tf.ensure_shape(top, [None, CANDIDATES]), tf.ensure_shape(places, [None, CANDIDATES])


def _taken(values: tf.Tensor, places: tf.Tensor) -> tf.Tensor:
    """Values ``[B, N]`` at places ``[B, C]``, 0 of a row that has none."""
    return tf.gather(tf.pad(values, [[0, 0], [0, 1]]), places, axis=1, batch_dims=1)


def _cut_out(passages: tf.Tensor, starts: tf.Tensor, ends: tf.Tensor) -> tf.Tensor:
    """Spans of passages, in code points as the tokenizer counts them; what is not UTF-8 has become U+FFFD."""
    passages = tf.strings.unicode_transcode(passages, "UTF-8", "UTF-8", errors="replace", replacement_char=0xFFFD)
    return tf.strings.substr(passages, tf.maximum(starts, 0), ends - starts, unit="UTF8_CHAR")
