"""Labelling, or answering, a text by a language model that is shown a few labelled examples before it."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kzoo.checkpoints.huggingface import save_directory
from kzoo.data.examples import Examples
from kzoo.errors import UserError
from kzoo.generation.choices import ChoiceScorer, Rows, Scores, Shared, read_shared
from kzoo.layers.cache import Cache
from kzoo.models.gpt import LanguageModel
from kzoo.tasks import tf_example
from kzoo.tasks.abstention import check_abstention, chosen_label
from kzoo.tasks.chat import PLAIN
from kzoo.tasks.chunks import by_length
from kzoo.tasks.demonstrations import TokenOverlap, diverse, drawn, most_alike
from kzoo.tasks.knobs import read_defaults
from kzoo.tasks.pool import FILES, labels_of_pool, rows_of, save_pool, with_files
from kzoo.tasks.task import Task
from kzoo.tasks.writing import Writer

# B texts, P examples of the pool, K demonstrations, C choices, D width of the embedder's vectors, Z shared tokens

CHOICES_OF_DEMONSTRATIONS = ("fixed", "random", "diverse", "similar")
ROWS = 8
"""Texts that are read at once: prompts with demonstrations are long."""


@keras.saving.register_keras_serializable(package="kzoo")
class FewShotModel(LanguageModel):
    """A decoder, and what else answers need: an embedder, its vectors of the pool, the keys and values of a prefix.

    Args:
        backbone: a ``Decoder``.
        embedder: the model of an ``Embed``, or None.
    """

    def __init__(self, backbone, embedder=None, **kwargs):
        super().__init__(backbone, **kwargs)
        self.embedder = embedder

    def keep(self, name: str, value) -> Any:
        """A variable of this value, which an export has inside."""
        value = tf.convert_to_tensor(value)
        weight = self.add_weight(
            name=name, shape=tuple(value.shape), dtype=value.dtype.name, trainable=False, initializer="zeros"
        )
        weight.assign(value)
        return weight


class FewShot(Task):
    """Puts each text into one of several classes, or answers it freely, without training.

    A decoder reads an instruction, a few labelled examples of a pool and the text; each class is as likely as its words
    behind them. The prompt is read once for all classes, and what is the same for all texts (the instruction, and
    demonstrations that do not depend on the text) once for all requests: its keys and values are in the export.

    Args:
        pretrained: what ``kzoo.load`` returned; a GPT-style model.
        pool: labelled examples: ``Examples`` with columns ``text`` and ``label``, or rows of such dicts.
        labels: names of the classes; by default those of the pool.
        shots: K, how many demonstrations are shown; 0 for none.
        choose: "random": drawn once; "diverse": those nearest to the centres of K clusters of the pool, found once;
            "similar": for each text those most like it, by the embedder's cosine or, without one, by the tokens that
            they share (BM25); the most alike stands next to the text. "fixed": all of the pool, in its order.
        embedder: an ``Embed``, whose vectors say what is alike.
        template: how an example is written; the text before ``{text}``, between, and behind ``{label}``.
        separator: what stands behind each example and the instruction.
        instruction: what stands before all.
        words: what a class is called in the prompt, ``{label: words}``; its name where nothing is said.
        balanced: whether all classes have as many demonstrations. By default of those that do not depend on the text.
        length_normalization: whether a class's log-probability is divided by its number of tokens.
        content_free: with a text, such as "N/A": from the log-probability of a class that behind this text is taken
            (Zhao et al. 2021); then what the demonstrations alone make likely does not count. None for no calibration.
        abstain_below: the score that a class must have to be given; below it ``label`` is ``abstain_label``.
        abstain_label: what stands in the place of a label then.
        free_text: the answer is whatever the model writes, up to ``stop``; the pool's labels are answers then.
        max_new_tokens: with ``free_text``, most tokens of an answer.
        stop: with ``free_text``, what ends an answer.
        max_length: most tokens of the prompt with an answer. Demonstrations that do not fit are left out, the least
            alike first (of fixed ones the last); of the text, which always stays, the end where it alone is too long.
        seed: of what is drawn.
        vectors: of the pool by the embedder, ``[P, D]``, where they are known.

    Raises:
        UserError: no decoder, a template without its places, a pool without the classes, or no room for the template.

    Answers: ``label`` string ``[B]``, ``scores`` float32 ``[B, C]`` (softmax over the classes) and ``classes`` string
    ``[B, C]``; with ``free_text`` ``text`` string ``[B]``.
    """

    name = "few_shot"
    columns = {"text": "string", "label": "label"}
    limits = ("abstain_below", "abstain_label")
    stop_id = None
    prefix_attention = False

    def __init__(
        self,
        pretrained,
        *,
        pool: Examples | Sequence[Mapping[str, Any]] = (),
        labels: Sequence[str] | None = None,
        shots: int = 8,
        choose: str = "similar",
        embedder: Any = None,
        template: str = "Text: {text}\nLabel: {label}",
        separator: str = "\n\n",
        instruction: str = "",
        words: Mapping[str, str] | None = None,
        balanced: bool | None = None,
        length_normalization: bool = False,
        content_free: str | None = None,
        abstain_below: float | None = None,
        abstain_label: str = "",
        free_text: bool = False,
        max_new_tokens: int = 32,
        stop: str = "\n",
        max_length: int | None = None,
        seed: int = 0,
        vectors=None,
    ):
        if not pretrained.is_decoder:
            raise UserError(f"few_shot needs a GPT-style model. {pretrained.source} is {pretrained.family.MODEL_TYPE}.")
        if choose not in CHOICES_OF_DEMONSTRATIONS:
            raise UserError(f"choose must be one of {', '.join(CHOICES_OF_DEMONSTRATIONS)}. Received {choose!r}.")
        self.pool = rows_of(pool)
        self.choose, self.embedder, self.seed = choose, embedder, seed
        self.shots = len(self.pool) if choose == "fixed" else min(shots, len(self.pool))
        if shots < 0 or (shots > 0 and choose != "fixed" and not self.pool):
            raise UserError(f"shots must not be below 0 and needs a pool. Received shots={shots}, an empty pool.")
        self.balanced = choose != "similar" if balanced is None else balanced
        self.template, self.separator, self.instruction = template, separator, instruction
        self.length_normalization, self.content_free = length_normalization, content_free
        self.free_text, self.max_new_tokens, self.stop = free_text, max_new_tokens if free_text else 0, stop
        self.labels = [] if free_text else labels_of_pool(labels, self.pool)
        self.abstain_below, self.abstain_label = abstain_below, abstain_label
        check_abstention(abstain_below, abstain_label, self.labels, multi_label=free_text)
        self.words = {str(label): str(said) for label, said in (words or {}).items()}
        if unknown := sorted(set(self.words) - set(self.labels)):
            raise UserError(f"words names {', '.join(unknown)}, of which the classes are none: {self.labels}.")
        super().__init__(pretrained, max_length=max_length)
        self._head, self._between, self._space, self._tail = _parts(template)
        self._frame = replace(PLAIN, reads_special=False).around(self._head, self._between)
        self._make_scorer()
        self._select(None if vectors is None else np.asarray(vectors, np.float32))
        self._read_prefix()
        defaults = read_defaults({"stop": [stop] if stop else []}) | {"max_new_tokens": self.max_new_tokens}
        self._writer = Writer(self, defaults) if free_text else None
        self._serve: Any = None

    def build(self, backbone):
        """The decoder beside what else answers need."""
        return FewShotModel(backbone, self.embedder.model if self.embedder and self._compares else None, name=self.name)

    # -- made once ---------------------------------------------------------------------------------------------------

    @property
    def _compares(self) -> bool:
        """Whether each text has demonstrations of its own."""
        return self.choose == "similar" and self.shots > 0

    def _said(self, label: str) -> str:
        return self.words.get(label, label)

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of texts, in which nothing is special."""
        return self.tokenizer.tokenize(tf.constant(list(texts), tf.string), special_tokens_in_text=False).ids.to_list()

    def _make_scorer(self) -> None:
        """What stands before everything, and the choices as token ids."""
        opening = self.instruction + self.separator if self.instruction else ""
        self._opening = [*self.tokenizer.template.before, *(self._ids([opening])[0] if opening else [])]
        self._scorer: Any = None
        if not self.free_text:
            said = [self._space + self._said(label) for label in self.labels]
            (between, *whole) = self._ids([self._between, *(self._between + one for one in said)])
            for one, ids in zip(said, whole, strict=True):
                if ids[: len(between)] != between or len(ids) == len(between):
                    raise UserError(
                        f"The tokenizer joins {self._between!r} and {one!r} in one token. Let the template have "
                        "another character before {label}, a space or a line break."
                    )
            content_free = (
                [] if self.content_free is None else self._ids([self._head + self.content_free + self._between])
            )
            self._scorer = ChoiceScorer([ids[len(between) :] for ids in whole], *content_free)
        self._reserved = self._scorer.longest if self._scorer else self.max_new_tokens
        around = self._frame.length(self.tokenizer) + len(self._opening)
        self._room = self.max_length - self._reserved - len(self._opening)  # of a text with its part of the template
        if around + self._reserved >= self.max_length:
            raise UserError(
                f"Instruction, template and answer take {around + self._reserved} tokens, which leaves no room for a "
                f"text in max_length={self.max_length}."
            )

    def _select(self, vectors: np.ndarray | None) -> None:
        """Finds the demonstrations that do not depend on the text, and makes the pool ready for the others."""
        labels = [row["label"] for row in self.pool]
        texts = [row["text"] for row in self.pool]
        by_vectors = self.shots > 0 and self.choose in ("diverse", "similar") and self.embedder is not None
        if by_vectors and vectors is None:
            vectors = self.embedder.vectors(texts)
        if vectors is not None and len(vectors) != len(self.pool):
            raise UserError(f"vectors must have a row for each example. Received {len(vectors)} for {len(self.pool)}.")
        self._likeness: Any = None
        if self._compares:
            self._vectors = self.model.keep("pool_vectors", vectors) if by_vectors else None
            self._likeness = self._cosines if by_vectors else TokenOverlap(self.tokenizer, texts)
        elif self.choose != "fixed":
            drawing: dict[str, Any] = {"seed": self.seed, "balanced": self.balanced and not self.free_text}
            if self.choose == "diverse" and self.shots:
                points = vectors if vectors is not None else TokenOverlap(self.tokenizer, texts).vectors()
                rows = diverse(points, labels, self.shots, **drawing)
            else:
                rows = drawn(labels, self.shots, **drawing)
            self.pool = [self.pool[row] for row in rows]
        numbers = {label: number for number, label in enumerate(dict.fromkeys(labels))}
        self._pool_labels = np.array([numbers[row["label"]] for row in self.pool], np.int64)
        written = [
            f"{self._head}{row['text']}{self._between}{self._space}{self._said(row['label'])}{self._tail}{self.separator}"
            for row in self.pool
        ]
        self._pool_ids = tf.ragged.constant(self._ids(written) if written else [], tf.int32, ragged_rank=1)

    def _cosines(self, texts) -> tf.Tensor:
        """Likeness of texts ``[B]`` to those of the pool ``[B, P]`` by the embedder."""
        vectors = self.embedder.serve({"text": texts})["embedding"]
        return tf.matmul(vectors, tf.convert_to_tensor(self._vectors), transpose_b=True)

    def _read_prefix(self) -> None:
        """Reads what stands before all texts, and keeps its keys and values."""
        ids, ends = list(self._opening), [len(self._opening)]
        if not self._compares:
            for one in self._pool_ids.to_list():
                if len(ids) + len(one) > self.max_length - self._reserved - 2:
                    break  # no text is so short that it would be shown
                ids += one
                ends.append(len(ids))
        room = self._room - self._frame.length(self.tokenizer)
        if self.shots and min(map(len, self._pool_ids.to_list())) > room:
            raise UserError(
                f"No demonstration fits into max_length={self.max_length} beside a text and the answer. Give it more."
            )
        self._prefix_ids, self._prefix_ends = np.array(ids, np.int32), np.array(ends, np.int32)
        self._kept: list[Any] = []
        if ids and not self.free_text:
            for number, layer in enumerate(read_shared(self.backbone, ids).cache):
                self._kept.append(
                    [self.model.keep(f"prefix_{kind}_{number}", getattr(layer, kind)) for kind in Cache._fields]
                )

    # -- for each text -----------------------------------------------------------------------------------------------

    def tokenize(self, inputs):
        """Demonstrations of their own, if any, and texts ``[B]`` in the template.

        Returns:
            ``token_ids`` ragged int32 ``[B, None]``; ``trunk`` int32 ``[B]``, how many of them are demonstrations;
            ``seen`` int32 ``[B]``, how many of the shared tokens stand before them; ``row``.
        """
        ids = self._frame.tokenize(self.tokenizer, inputs["text"], self._room, cut="end")
        widest = self._scorer.content_free_length if self._scorer else 0
        room = self._room - tf.maximum(tf.cast(ids.row_lengths(), tf.int32), widest)  # [B], for demonstrations
        row = tf.range(ids.nrows(out_type=tf.int32))
        if not self._compares:
            fits = self._prefix_ends[None, :] - len(self._opening) <= tf.maximum(room, 0)[:, None]
            seen = tf.reduce_max(tf.where(fits, self._prefix_ends[None, :], len(self._opening)), axis=1)
            return {"token_ids": ids, "trunk": tf.zeros_like(row), "seen": seen, "row": row}
        chosen = most_alike(self._likeness(inputs["text"]), self._pool_labels, self.shots, balanced=self.balanced)
        lengths = tf.gather(tf.cast(self._pool_ids.row_lengths(), tf.int32), chosen)  # [B, K]
        kept = tf.reduce_sum(tf.cast(tf.cumsum(lengths, axis=1) <= room[:, None], tf.int32), axis=1)  # [B]
        shown = tf.reverse(tf.RaggedTensor.from_tensor(chosen, kept).to_tensor(-1, shape=[None, chosen.shape[1]]), [1])
        shown = tf.ragged.boolean_mask(shown, shown >= 0)  # the most alike last
        trunk = tf.gather(self._pool_ids, shown).merge_dims(1, 2)  # [B, None]
        return {
            "token_ids": tf.concat([trunk, ids], axis=1),
            "trunk": tf.cast(trunk.row_lengths(), tf.int32),
            "seen": tf.fill([tf.size(row)], len(self._opening)),
            "row": row,
        }

    def log_probabilities(self, tokens) -> tf.Tensor:
        """Of the classes behind rows that ``tokenize`` made: float32 ``[B, C]``, normalized and calibrated as asked."""
        scores = self.choice_scores(tokens)
        found = scores.prompt if scores.content_free is None else scores.prompt - scores.content_free
        return found / self._scorer.lengths if self.length_normalization else found

    def choice_scores(self, tokens) -> Scores:
        """Sums of log-probabilities of the classes' tokens behind rows that ``tokenize`` made."""
        cache = [Cache(*(tf.convert_to_tensor(one) for one in pair)) for pair in self._kept]
        shared = Shared(cache, len(self._prefix_ids)) if cache else None

        def run(some, length):
            ids = some["token_ids"]
            lengths = tf.cast(ids.row_lengths(), tf.int32)
            padded = ids.to_tensor(0, shape=tf.stack([-1, length]))
            found = self._scorer(self.backbone, Rows(padded, lengths, some["trunk"], some["seen"]), shared)
            return {name: value for name, value in found._asdict().items() if value is not None}

        names = Scores._fields if self.content_free is not None else Scores._fields[:1]
        specs = {name: tf.TensorSpec([None, len(self.labels)]) for name in names}
        return Scores(**({"content_free": None} | by_length(tokens, run, specs, rows=ROWS)))

    def postprocess(self, outputs, inputs, tokens):
        scores = tf.nn.softmax(outputs)
        return {
            "label": chosen_label(scores, self.labels, self.abstain_below, self.abstain_label),
            "scores": scores,
            "classes": tf.broadcast_to(tf.constant(self.labels), tf.shape(scores)),
        }

    def serve(self, inputs):
        """From texts ``[B]`` to answers; traced once for all that ask, for the pool is a constant of the graph."""
        if self._serve is None:
            self._serve = tf.function(self._answers, input_signature=[self.inputs["text"]], autograph=False)
        return self._serve(inputs["text"])

    def _answers(self, texts):
        inputs = {"text": texts}
        tokens = self.tokenize(inputs)
        if self._writer is None:
            return self.postprocess(self.log_probabilities(tokens), inputs, tokens)
        before = tf.RaggedTensor.from_tensor(
            tf.broadcast_to(self._prefix_ids[None, :], [tf.size(texts), len(self._prefix_ids)]), tokens["seen"]
        )
        ids = tf.concat([before, tokens["token_ids"]], axis=1)
        text = self._writer.continue_tokens(ids.to_tensor(0), tf.cast(ids.row_lengths(), tf.int32))["text"]
        return {"text": tf.strings.strip(text)}

    def signatures(self):
        """The plain answer, and of labels ``classify`` for the Classify API, as a trained classifier has it."""
        found = super().signatures()
        if self.free_text:
            return found

        def classify(inputs):
            answers = self.serve(inputs)
            return {name: answers[name] for name in ("classes", "scores")}

        return found | {"classify": tf_example.signature("classify", self.inputs, classify)}

    def token_signatures(self):
        """None: demonstrations are chosen by the text."""
        raise UserError(
            "few_shot answers texts only: its demonstrations are chosen by them. Leave token signatures out."
        )

    def forget_traces(self):
        """Lets everything be traced anew."""
        super().forget_traces()
        self._serve = None

    def rebuild(self, dtype=None):
        """As ``Task.rebuild``; all its weights are the pretrained ones and those of its options."""
        return type(self)(self.pretrained.rebuild(dtype), **self.options())

    @property
    def tokenizers(self):
        """The decoder's, and the embedder's where texts are compared by it."""
        return [*super().tokenizers, *(self.embedder.tokenizers if self.embedder and self._compares else [])]

    # -- saved and loaded --------------------------------------------------------------------------------------------

    def options(self):
        compares = self._compares
        names = ("template", "separator", "instruction", "words", "length_normalization", "content_free", "seed")
        found = super().options() | {
            "pool": self.pool,
            "labels": None if self.free_text else self.labels,
            "shots": self.shots,
            "choose": self.choose if compares else "fixed",
            "embedder": self.embedder if compares else None,
            "vectors": np.asarray(self._vectors) if compares and self._vectors is not None else None,
            "balanced": self.balanced,
            **{name: getattr(self, name) for name in names},
            "free_text": self.free_text,
        }
        if self.abstain_below is not None:
            found |= {"abstain_below": self.abstain_below, "abstain_label": self.abstain_label}
        return found | ({"max_new_tokens": self.max_new_tokens, "stop": self.stop} if self.free_text else {})

    def description(self):
        """The options as ``kzoo.json`` has them: pool, vectors and embedder lie in files beside it."""
        options = self.options()
        return options | {
            name: file if name == "pool" or options[name] is not None else None for name, file in FILES.items()
        }

    @classmethod
    def restored(cls, pretrained, options, directory):
        """The task of saved options, with the files beside them."""
        return cls(pretrained, **with_files(options, directory))

    def save(self, directory):
        """As ``Task.save``, with the pool, and the embedder and its vectors where texts are compared by them."""
        directory = Path(directory)
        save_directory(self.pretrained, directory, head=self.pretrained.head_for("generate"), head_root=self)
        save_pool(directory, self.options())
        self.write_description(directory)
        return directory


def _parts(template: str) -> tuple[str, str, str, str]:
    """What stands before the text, between it and the label, the white space before the label, and what is behind."""
    if not isinstance(template, str) or template.count("{text}") != 1 or template.count("{label}") != 1:
        raise UserError(f"template must hold {{text}} and {{label}} once each. Received {template!r}.")
    head, _, rest = template.partition("{text}")
    between, found, tail = rest.partition("{label}")
    if not found or not between.strip():
        raise UserError(
            f"template must hold {{text}} before {{label}}, with words between them. Received {template!r}."
        )
    bare = between.rstrip(" ")
    return head, bare, between[len(bare) :], tail


OPTIONS = tuple(name for name in inspect.signature(FewShot).parameters if name not in ("pretrained", "pool", "vectors"))
"""What a config may say of the task beside its pool."""
