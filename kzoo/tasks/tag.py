"""Named entities: which parts of a text are what."""

from collections.abc import Mapping, Sequence
from typing import Any
from warnings import warn

import keras
import numpy as np
import tensorflow as tf

from kzoo.data import tags
from kzoo.data.entities import entities_of
from kzoo.errors import UserError
from kzoo.layers.linear import Linear
from kzoo.tasks.chunks import widened
from kzoo.tasks.class_weights import checked_weights, weights_of_targets
from kzoo.tasks.counting import CountedAccuracy
from kzoo.tasks.entity_f1 import EntityF1
from kzoo.tasks.framing import fill_empty, frame, start_id
from kzoo.tasks.parts import dense_rows, parts_of
from kzoo.tasks.published_head import hidden_layer, label_keys, labels_of_head
from kzoo.tasks.task import Signature, Task
from kzoo.tasks.windows import merged, spread, windows
from kzoo.tasks.words import WordMarks, Words, align, words
from kzoo.tokenizers import Tokens
from kzoo.tokenizers.characters import positions_of

# B texts, W windows, T length, C classes, U words of all texts, E entities of all texts, S entities of a text at most

AGGREGATIONS = ("first", "simple", "average", "max")
MOST_SPOKEN = 5


class Tag(Task):
    """Finds the entities of texts of any length: persons, places, products, whatever it was taught.

    A word has one tag, however many tokens it is cut into. Words are BERT's: white space parts them, and punctuation
    marks and CJK characters are words by themselves. Tags are read as ``conlleval`` reads them, so that any sequence
    of tags means proper entities: a word inside of an entity begins one where none of its type goes on.

    A text that is longer than ``max_length`` is read in windows that overlap, and each token is judged in the window
    in which it has most context; nothing is cut.

    Args:
        pretrained: what ``kzoo.load`` returned; a BERT-style model.
        labels: types of entities (``["person", "place"]``), of which ``scheme`` makes the classes; or the classes
            themselves, ``O`` among them (``["O", "B-person", "I-person"]``). By default those of the checkpoint's head.
        scheme: "BIO" (the first word of an entity and those inside), "IO" (inside; neighbours of one type flow
            together) or "BIOES" (also the last word, and the single one).
        aggregation: how the tokens of a word agree, as in ``transformers``: "first" (the first one decides; those
            alone are learned), "average" (of their probabilities), "max" (the surest one decides), or "simple" (each
            token by itself).
        stride: how many tokens after one window the next begins; by default three quarters of what a window holds.
        class_weights: how much the classes weigh in the loss: ``{label: weight}``, 1 where a class is not named, or
            "balanced"; see ``Classify``.
        max_length: most tokens of a window, special ones included.
        dropout: rate before the head, in training.

    Raises:
        UserError: a decoder, no labels, one twice, an unknown scheme or aggregation, a stride outside of the window.

    Answers: ``text``, ``type``, ``score``, ``start``, ``end`` ``[B, S]`` of the entities in their order, then "", 0 and
    0; ``count`` int32 ``[B]`` of them. Offsets count code points, the end is exclusive. The score is the mean of the
    words' probabilities.

    The signature ``tokens`` answers with every word: ``text``, ``label``, ``score``, ``start``, ``end`` ``[B, N]``,
    ``scores`` ``[B, N, C]``, ``classes`` ``[B, C]`` and ``count`` ``[B]``.
    """

    name = "tag"
    can_be_compiled = True
    columns = {"text": "string", "entities": "list"}

    def __init__(
        self,
        pretrained,
        *,
        labels: Sequence[str] | None = None,
        scheme: str = "BIO",
        aggregation: str = "first",
        stride: int | None = None,
        class_weights: Mapping[str, float] | str | None = None,
        max_length=None,
        dropout: float = 0.1,
    ):
        if pretrained.head_for(self.name) is None:
            raise UserError(
                f"{self.name} needs a BERT-style model, which reads a word's text on both sides. {pretrained.source} "
                f"is {pretrained.family.MODEL_TYPE}."
            )
        if scheme not in tags.SCHEMES:
            raise UserError(f"scheme must be one of {', '.join(tags.SCHEMES)}. Received {scheme!r}.")
        if aggregation not in AGGREGATIONS:
            raise UserError(f"aggregation must be one of {', '.join(AGGREGATIONS)}. Received {aggregation!r}.")
        published = labels_of_head(pretrained, self.name)
        given = published if labels is None else [str(label) for label in labels]
        self.labels = _checked(given if given == published else _classes(given, scheme), pretrained.source)
        self.types = list(dict.fromkeys(kind for _, kind in map(tags.parse, self.labels) if kind))
        self._places = [tags.parse(label)[0] for label in self.labels]  # [C]
        numbers = {kind: number for number, kind in enumerate(["", *self.types])}
        self._kinds = [numbers[tags.parse(label)[1]] for label in self.labels]  # [C], 0 for O
        self.scheme, self.aggregation, self.dropout = scheme, aggregation, dropout
        self.class_weights = checked_weights(class_weights, self.labels)
        super().__init__(pretrained, max_length=max_length)
        template = self.tokenizer.template
        self._room = self.max_length - len(template.before) - len(template.after)
        if self._room < 1 or (stride is not None and not 1 <= stride <= self._room):
            raise UserError(
                f"stride must lie between 1 and the {self._room} tokens that a window of max_length={self.max_length} "
                f"holds beside its special ones. Received {stride}."
            )
        self.stride = stride
        self._marks = WordMarks(self.tokenizer, all_tokens=aggregation == "simple")
        if published == self.labels:
            self.import_head()

    def build(self, backbone):
        """A model from ``token_ids`` and ``padding_mask`` to float32 logits ``[W, T, C]``."""
        inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in ("token_ids", "padding_mask")}
        x = backbone(inputs)["sequence_output"]
        self.hidden = hidden_layer(self.pretrained, self.name)
        if self.hidden is not None:
            x = self.hidden(x)
        x = keras.layers.Dropout(self.dropout, name="head_dropout")(x)
        self.head = Linear(len(self.labels), name="head", dtype="float32")
        return keras.Model(inputs, self.head(x), name=self.name)

    # -- text to tensors -------------------------------------------------------------------------------------------

    def tokenize(self, inputs):
        """As ``Task.tokenize``, without white space in the offsets; a text has as many rows as it needs.

        Returns:
            Beside the usual columns ``judged`` and ``word`` ragged int32 ``[W, None]``: whether the window judges the
            token, and whether a word begins there.
        """
        tokens = self.tokenizer.tokenize(inputs["text"])
        starts, ends, marks = self._marks(inputs["text"], tokens)
        stride = self.stride or max(1, 3 * self._room // 4)
        cut = windows(tokens.ids.row_lengths(), self._room, stride)
        template = self.tokenizer.template
        around: dict[str, Any] = dict(before=template.before, after=template.after, max_length=self.max_length)
        ids = cut.of(tokens.ids)
        rows = frame(Tokens(ids, cut.of(starts), cut.of(ends)), **around)
        said = frame(Tokens(ids, cut.judged(), cut.of(marks)), **around)
        rows |= {"judged": said["starts"], "word": said["ends"], "row": cut.row}
        if not template.before and not template.after:
            fills = {"token_ids": start_id(self.tokenizer)}
            rows = {
                name: fill_empty(column, fills.get(name, 0)) if isinstance(column, tf.RaggedTensor) else column
                for name, column in rows.items()
            }
        return rows

    def words_of(self, tokens) -> Words:
        """The words of all texts, from what ``tokenize`` gave."""
        judged = tokens["judged"]
        row = tokens["token_ids"].with_flat_values(tf.gather(tokens["row"], judged.value_rowids()))
        columns = (row, tokens["starts"], tokens["ends"], tokens["word"])
        return words(*(merged(column, judged) for column in columns))

    def targets(self, examples, tokens):
        """The class of each word at its first token, and its weight; other tokens weigh nothing.

        Ends of entities inside of a word are moved to the word's ends, with a warning that names the first.

        Returns:
            Classes int32 and weights float32, both ragged ``[W, None]``.

        Raises:
            UserError: an entity of a type that the task does not know.
        """
        listed = entities_of(examples)
        self._check_types(listed, examples.source)
        row = np.repeat(np.arange(len(listed)), [len(one) for one in listed])
        flat = [entity for one in listed for entity in one]
        starts, ends = np.array([one[:2] for one in flat], np.int32).reshape(-1, 2).T
        found = self.words_of(tokens)
        aligned = align(found, tf.constant(row, tf.int32), tf.constant(starts), tf.constant(ends))
        self._warn(examples, listed, found, aligned)
        numbers = {kind: number for number, kind in enumerate(self.types)}
        kinds = tf.constant([*(numbers[one.type] for one in flat), 0], tf.int32)  # [E + 1]
        kind = tf.gather(kinds, tf.where(aligned.entity < 0, len(flat), aligned.entity))
        form = tf.cast(aligned.is_first, tf.int32) + 2 * tf.cast(aligned.is_last, tf.int32)
        classes = tf.gather_nd(tf.constant(self._class_table()), tf.stack([kind, form], 1))
        classes = tf.where(aligned.entity < 0, self._outside, classes)  # [U]
        weights = tf.constant(weights_of_targets(self.class_weights, classes.numpy(), self.labels))
        judged = tokens["judged"]
        size = tf.math.count_nonzero(judged.flat_values)[tf.newaxis]
        return tuple(
            spread(tf.scatter_nd(found.places[:, tf.newaxis], values, size), judged) for values in (classes, weights)
        )

    @property
    def _outside(self) -> int:
        return self.labels.index("O")

    def _class_table(self) -> list[list[int]]:
        """For each type the class of a word inside, of a first, of a last and of a single one ``[K, 4]``."""
        known = {tags.parse(label): number for number, label in reversed(list(enumerate(self.labels)))}
        wanted = (
            (tags.INSIDE, tags.BEGIN),
            (tags.BEGIN, tags.INSIDE),
            (tags.END, tags.INSIDE, tags.BEGIN),
            (tags.SINGLE, tags.BEGIN, tags.INSIDE),
        )
        anything = tuple(range(tags.BEGIN, tags.SINGLE + 1))
        return [
            [next(known[place, kind] for place in (*places, *anything) if (place, kind) in known) for places in wanted]
            for kind in self.types
        ]

    def _check_types(self, listed, source: str) -> None:
        if "O" not in self.labels:
            raise UserError(f"{self.name} learns what is no entity, too: name the class O in labels.")
        unknown = sorted({entity.type for row in listed for entity in row} - set(self.types))
        if unknown:
            raise UserError(
                f"{source} has entities of types that the task does not know: "
                f"{', '.join(map(repr, unknown[:MOST_SPOKEN]))}; it knows {', '.join(map(repr, self.types))}. Name "
                "them in labels, or mend the data."
            )

    def _warn(self, examples, listed, found: Words, aligned) -> None:
        """Says how many entities do not begin and end with words."""
        entity, starts, ends = aligned.entity.numpy(), found.starts.numpy(), found.ends.numpy()
        covered = np.zeros([sum(map(len, listed)), 2], np.int64)
        first, last = aligned.is_first.numpy(), aligned.is_last.numpy()
        covered[entity[first], 0], covered[entity[last], 1] = starts[first], ends[last]
        flat = [(row, one) for row, these in enumerate(listed) for one in these]
        wrong = [place for place, (_, one) in enumerate(flat) if tuple(covered[place]) != one[:2]]
        if wrong:
            row, one = flat[wrong[0]]
            low, high = covered[wrong[0]]
            text = examples["text"][row]
            instead = f"{text[low:high]!r} is learned in its place" if high > low else "no word is left to it"
            warn(
                f"{len(wrong)} of {len(flat)} entities of {examples.source} begin or end inside of a word. The first, "
                f"in row {row + 1}: {text[one.start : one.end]!r} ({one.type}); {instead}.",
                stacklevel=2,
            )

    # -- tensors to answers ----------------------------------------------------------------------------------------

    def read_words(self, outputs, tokens) -> tuple[Words, tf.Tensor, tf.Tensor]:
        """The words of all texts, the class of each int32 ``[U]``, and the probabilities of all classes ``[U, C]``."""
        found = self.words_of(tokens)
        scores = tf.nn.softmax(merged(tf.cast(outputs, tf.float32), tokens["judged"]))
        if self.aggregation in ("first", "simple"):
            scores = tf.gather(scores, found.places)
        else:
            scores = tf.gather(scores, found.tokens)
            if self.aggregation == "average":
                scores = tf.math.segment_mean(scores, found.of_token)
            else:
                surest = tf.reduce_max(scores, -1)
                is_best = surest >= tf.gather(tf.math.segment_max(surest, found.of_token), found.of_token)
                place = tf.range(tf.size(surest))
                best = tf.math.segment_min(tf.where(is_best, place, tf.size(surest)), found.of_token)
                scores = tf.gather(scores, best)
        return found, tf.argmax(scores, -1, output_type=tf.int32), scores

    def postprocess(self, outputs, inputs, tokens):
        found, classes, scores = self.read_words(outputs, tokens)
        place, kind = tf.gather(tf.constant(self._places), classes), tf.gather(tf.constant(self._kinds), classes)
        is_new_row = found.row != tf.concat([[-1], found.row[:-1]], 0)
        before = tf.where(is_new_row, tags.OUTSIDE, tf.concat([[tags.OUTSIDE], place[:-1]], 0))
        begins = tags.begins(place, kind, before, tf.concat([[0], kind[:-1]], 0))
        inside = positions_of(place != tags.OUTSIDE)
        entity = tf.gather(tf.cumsum(tf.cast(begins, tf.int32)) - 1, inside)
        of = positions_of(begins)
        score = tf.gather(tf.gather(scores, classes, batch_dims=1), inside)
        row, start = tf.gather(found.row, of), tf.gather(found.starts, of)
        end = tf.math.segment_max(tf.gather(found.ends, inside), entity)
        return dense_rows(
            row,
            tf.shape(inputs["text"])[0],
            {
                "text": parts_of(inputs["text"], row, start, end),
                "type": tf.gather(tf.constant(["", *self.types]), tf.gather(kind, of)),
                "score": tf.math.segment_mean(score, entity),
                "start": start,
                "end": end,
            },
        )

    def postprocess_words(self, outputs, inputs, tokens):
        """As ``postprocess``, for the signature ``tokens``."""
        found, classes, scores = self.read_words(outputs, tokens)
        number = tf.shape(inputs["text"])[0]
        rows = dense_rows(
            found.row,
            number,
            {
                "text": parts_of(inputs["text"], found.row, found.starts, found.ends),
                "label": tf.gather(tf.constant(self.labels), classes),
                "score": tf.gather(scores, classes, batch_dims=1),
                "start": found.starts,
                "end": found.ends,
                "scores": scores,
            },
        )
        return rows | {"classes": tf.broadcast_to(tf.constant(self.labels), [number, len(self.labels)])}

    def signatures(self):
        return super().signatures() | {"tokens": Signature(lambda **inputs: self.serve_words(inputs), self.inputs)}

    def serve_words(self, inputs) -> dict[str, tf.Tensor]:
        """As ``serve``, for the signature ``tokens``."""
        tokens = self.tokenize(inputs)
        return self.postprocess_words(self.logits(tokens), inputs, tokens)

    def answer_tokens(self, tokens, length):
        """Of each token, for ids that another tokenizer made: ``scores`` ``[B, T, C]`` and ``classes`` ``[B, C]``."""
        scores = tf.nn.softmax(tf.cast(widened(self.logits(tokens), length), tf.float32))
        labels = tf.constant(self.labels)
        return {"scores": scores, "classes": tf.broadcast_to(labels, [tf.shape(scores)[0], len(self.labels)])}

    def predict(self, texts, *, batch_size: int = 32) -> list[dict]:
        """The entities of texts: a dict a text, whose ``entities`` are dicts of ``text``, ``type``, ``score``, ...

        Args:
            texts: a text or a list of texts.
            batch_size: texts at once; they are sorted by length first, the answers come in the order given.
        """
        return [{"entities": listed(answer)} for answer in super().predict(texts, batch_size=batch_size)]

    # -- learning --------------------------------------------------------------------------------------------------

    def loss(self):
        return keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="mean_with_sample_weight")

    def metrics(self):
        return [CountedAccuracy(name="accuracy"), EntityF1(self._places, self._kinds)]

    def options(self):
        options = super().options() | {"labels": self.labels, "scheme": self.scheme, "aggregation": self.aggregation}
        if self.stride is not None:
            options["stride"] = self.stride
        if self.class_weights:
            options["class_weights"] = self.class_weights
        return options | {"dropout": self.dropout}

    def published(self):
        return super().published() | label_keys(self.labels)

    def example_inputs(self):
        return {"text": ["Ada Lovelace and Charles Babbage met in London in 1833."]}


def listed(answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The entities of one text as dicts, from what the served model answers about it."""
    names = [name for name in answer if name != "count"]
    columns = [answer[name][: answer["count"]] for name in names]
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def _classes(labels: Sequence[str], scheme: str) -> list[str]:
    """The classes, where labels name only types."""
    are_classes = "O" in labels or any(map(tags.has_prefix, labels))
    return list(labels) if are_classes or not labels else tags.tags_of_types(labels, scheme)


def _checked(labels: list[str], source: str) -> list[str]:
    if not labels:
        raise UserError(f"{source} has no tagger of its own: name the types of entities in labels.")
    if len(labels) < 2 or len(set(labels)) != len(labels):
        raise UserError(f"labels must name different types of entities, or different classes. Received {labels}.")
    return labels
