"""The seam between text and model: what a task must say, and what follows from it for all of them.

The functions that turn text into tensors and tensors into answers are written once and traced twice: in the `tf.data`
pipeline that trains, and inside the SavedModel that serves.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kzoo.checkpoints import peft
from kzoo.checkpoints.engine import import_tensors
from kzoo.checkpoints.huggingface import save_directory
from kzoo.checkpoints.pretrained import Pretrained
from kzoo.checkpoints.replacing import write_text
from kzoo.errors import UserError
from kzoo.models import lora
from kzoo.tasks import compiled, from_token_ids
from kzoo.tasks.chunks import by_length
from kzoo.tasks.framing import dense
from kzoo.tasks.signature import Signature
from kzoo.version import __version__

# B texts, W model rows (W = B unless texts are cut into windows), T length

__all__ = ["DESCRIPTION", "Signature", "Task"]

DESCRIPTION = "kzoo.json"


class Task:
    """A backbone with a head, and the way from text to answer.

    Subclasses define ``name``, ``columns``, ``inputs``, ``tokenize``, ``build``, ``postprocess`` and, to be trained,
    ``targets``, ``loss`` and ``metrics``.

    Args:
        pretrained: what ``kzoo.load`` returned.
        max_length: most tokens of a row, special ones included; by default what the backbone and its tokenizer allow.

    Attributes:
        model: an ordinary ``keras.Model`` from features to outputs.
        tokenizer: of the backbone.
        privacy: the differential privacy with which it was trained, None without.
        backbone: ``Encoder`` or ``Decoder``.
    """

    name: str
    columns: dict[str, str] = {"text": "string"}
    """Columns of the examples that training reads, with their kinds: ``string``, ``label``, ``number`` or ``list``."""
    inputs: dict[str, tf.TensorSpec] = {"text": tf.TensorSpec([None], tf.string, name="text")}
    """What the plain answer needs."""
    limits: tuple[str, ...] = ()
    """Options that bound what is answered, or the time it takes: a saved task may be opened with others."""
    reads_documents = False
    """Whether training reads running text: the task makes ``rows`` of documents, and ``prepare`` makes them ready."""
    reads_sentences = False
    """Whether it needs to know where the sentences of documents begin: one a line."""
    fills_rows = False
    """Whether ``rows`` are filled up to ``max_length``, so that batches need no other length."""
    packs_rows = False
    """The same of the rows that it makes of ``exchanges``."""

    can_be_compiled = False
    """Whether the plain answer is made of ``logits`` alone, so that the model beneath may be a compiled one."""
    keeps_examples_whole = False
    """Whether the rows of an example learn from each other: as many for each, and never in two batches or devices."""

    def __init__(self, pretrained: Pretrained, *, max_length: int | None = None):
        self.pretrained = pretrained
        limit = min(pretrained.backbone.num_positions, pretrained.tokenizer.max_length or 2**31)
        if max_length is not None and not 2 < max_length <= pretrained.backbone.num_positions:
            raise UserError(
                f"max_length must lie between 3 and the model's {pretrained.backbone.num_positions} positions. "
                f"Received {max_length}."
            )
        self.max_length = max_length or limit
        self.privacy: dict[str, Any] | None = None
        self.model = self.build(pretrained.backbone)
        self._answer: Callable | None = None

    @property
    def backbone(self) -> keras.Model:
        """The backbone."""
        return self.pretrained.backbone

    @property
    def tokenizer(self):
        """The backbone's tokenizer."""
        return self.pretrained.tokenizer

    @property
    def tokenizers(self) -> list:
        """All tokenizers that answers need; an export has their tables."""
        return [self.tokenizer]

    # -- what a task says ------------------------------------------------------------------------------------------

    def tokenize(self, inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor | tf.RaggedTensor]:
        """Turns strings ``[B]`` into ragged rows.

        Returns:
            ``token_ids``, ``starts``, ``ends`` int32 ``[W, None]``, special tokens included and cut to ``max_length``
            (offsets in code points of the text, 0 and 0 for special tokens), and ``row`` int32 ``[W]``: the text that
            each row came from.
        """
        raise NotImplementedError

    def targets(self, examples: Mapping[str, Any], tokens: Mapping[str, Any]) -> tuple[Any, Any]:
        """What training compares with, and its weights: each ``[W]`` or ragged ``[W, None]`` beside the tokens."""
        raise UserError(f"The task {self.name} cannot be trained yet.")

    def columns_in(self, examples) -> dict[str, str]:
        """Those of its ``columns`` that it reads in these examples; all, unless it learns from several kinds."""
        return self.columns

    def exchanges(self, examples) -> Any:
        """Prompts with answers as ``kzoo.data.exchanges.Exchanges``, where the examples hold such, else None."""
        return None

    def rows(self, documents) -> Any:
        """What of documents stands in which row, special tokens included: ``kzoo.data.spans.Spans``."""
        raise UserError(f"The task {self.name} cannot be trained on running text.")

    def prepare(self, tokens: Mapping[str, Any], length, is_real, keys) -> tuple[Any, Any, Any]:
        """Features, targets and weights of rows of documents.

        Args:
            tokens: ``token_ids`` and ``tags`` ragged ``[W, None]``, as ``rows`` laid them out, and ``labels`` ``[W]``.
            length: scalar, to which the rows are padded.
            is_real: float32 ``[W]``: 0 for rows that only fill the batch, whose weights are 0.
            keys: uint64 ``[W]``, functions of the seed, the epoch and the row: see ``kzoo.data.draws``.
        """
        raise UserError(f"The task {self.name} cannot be trained on running text.")

    def build(self, backbone: keras.Model) -> keras.Model:
        """The Keras model from features to outputs.

        ``serve`` reads the shapes of its outputs from ``model.output``: with a model that is not functional a task
        brings a ``serve`` of its own, as ``generate`` does.
        """
        raise NotImplementedError

    def postprocess(self, outputs, inputs, tokens) -> dict[str, tf.Tensor]:
        """Turns the model's outputs ``[W, ...]`` into named answers ``[B, ...]``.

        Args:
            outputs: what the model gave, in the order of ``tokens``. One with a value for each token is
                ``[W, T, ...]``; past the end of a row it holds anything.
            inputs: the strings ``[B]`` that were given.
            tokens: what ``tokenize`` made of them; ``row`` says which of the B texts each of the W rows came from.
        """
        raise NotImplementedError

    def loss(self) -> keras.losses.Loss:
        """The loss of one target; its mean is over the targets' weights."""
        raise UserError(f"The task {self.name} cannot be trained yet.")

    def metrics(self) -> list[keras.metrics.Metric]:
        """Weighted metrics for training and evaluation."""
        return []

    answer_measures: tuple[str, ...] = ()
    """Names of what ``answer_figures`` measures."""

    def answer_figures(self, examples, *, batch_size: int) -> dict[str, float]:
        """What whole answers to examples are worth, where metrics of the model's rows cannot tell: see ``evaluate``."""
        return {}

    def options(self) -> dict[str, Any]:
        """The arguments that make this task again from its backbone."""
        return {"max_length": self.max_length}

    def description(self) -> dict[str, Any]:
        """The options as ``kzoo.json`` keeps them; see ``restored``."""
        return self.options()

    @classmethod
    def restored(cls, pretrained: Pretrained, options: Mapping[str, Any], directory: Path) -> "Task":
        """The task of what ``description`` said and ``save`` wrote into the directory."""
        return cls(pretrained, **options)

    def published(self) -> dict[str, Any]:
        """Keys that the task adds to ``config.json``."""
        return {}

    def example_inputs(self) -> dict[str, list]:
        """A plausible request: for warm-up, for READMEs."""
        return {name: ["A model zoo that serves what it trains."] for name in self.inputs}

    # -- what follows ----------------------------------------------------------------------------------------------

    def pack(self, tokens: Mapping[str, Any], length) -> dict[str, tf.Tensor]:
        """Pads ragged rows to ``length``.

        Returns:
            ``token_ids`` and ``padding_mask``, both int32 ``[W, length]``; the mask is 1 for real tokens. (Models take
            a boolean mask, too; ``fit`` under a strategy averages what it is given over replicas, which it cannot do
            with booleans.)
        """
        ids = tokens["token_ids"]
        pad = self.tokenizer.special_ids.get("pad", 0)
        features = {
            "token_ids": dense(ids, length, pad),
            "padding_mask": tf.sequence_mask(ids.row_lengths(), length, dtype=tf.int32),
        }
        if "segment_ids" in tokens:
            features["segment_ids"] = dense(tokens["segment_ids"], length)
        return features

    def serve(self, inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """From strings ``[B]`` to named answers: what an export traces and ``predict`` calls."""
        tokens = self.tokenize(inputs)
        return self.postprocess(self.logits(tokens), inputs, tokens)

    def logits(self, tokens: Mapping[str, Any]):
        """The model's outputs ``[W, ...]`` for rows that ``tokenize`` made, computed in chunks of like length."""
        return by_length(
            tokens, lambda some, length: self.model(self.pack(some, length), training=False), self.model.output
        )

    def signatures(self) -> dict[str, Signature]:
        """The entries of the exported model; the first is ``serving_default``, the plain answer."""
        return {"serving_default": Signature(lambda **inputs: self.serve(inputs), self.inputs)}

    def token_signatures(self) -> dict[str, Signature]:
        """The entries for those who bring token ids of their own; an export has them when it is asked to."""
        return {from_token_ids.NAME: from_token_ids.signature(self)}

    def compiled_signatures(self) -> dict[str, Signature]:
        """The entries that XLA compiles; an export has them when it is asked to. See ``kzoo.tasks.compiled``."""
        return compiled.signatures(self)

    def explain_signatures(self, **options: Any) -> dict[str, Signature]:
        """The entries that explain answers; an export has them when it is asked to. See ``kzoo.tasks.explain``."""
        raise UserError(f"Only the tasks classify and regress explain their answers. This one is {self.name}.")

    @property
    def most_tokens(self) -> int:
        """Most tokens of a row that is read."""
        return self.max_length

    def answer_tokens(self, tokens: Mapping[str, Any], length) -> dict[str, tf.Tensor]:
        """Named answers to rows of token ids without their texts; one with a value a token is ``[B, length, ...]``."""
        return self.postprocess(self.logits(tokens), {}, tokens)

    def predict(self, texts: str | Sequence[str] | Mapping[str, Sequence], *, batch_size: int = 32) -> list[dict]:
        """Answers in Python: one dict a text, with the outputs' names.

        Args:
            texts: a text, a list of texts, or a dict of lists for a task with several inputs.
            batch_size: texts at once; they are sorted by length first, the answers come in the order given.
        """
        return self._in_batches(self._traced(), self._columns(texts), batch_size)

    def predict_arrays(
        self, texts: str | Sequence[str] | Mapping[str, Sequence], *, batch_size: int = 32
    ) -> dict[str, np.ndarray]:
        """As ``predict``, for answers of one shape whatever the text: an array ``[B, ...]`` an output."""
        found: dict[str, np.ndarray] = {}
        columns = self._columns(texts)
        for rows, arrays in self._answered(self._traced(), columns, batch_size):
            for name, array in arrays.items():
                if name not in found:
                    found[name] = np.zeros([len(next(iter(columns.values()))), *array.shape[1:]], array.dtype)
                found[name][rows] = array
        return found

    def _traced(self) -> Callable:
        """The plain answer as a graph."""
        if self._answer is None:
            self._answer = next(iter(self.signatures().values())).traced()
        return self._answer

    def _columns(self, texts) -> dict[str, np.ndarray]:
        """The inputs by name, each an array of UTF-8 bytes; half of a surrogate pair becomes a question mark."""
        if not isinstance(texts, Mapping):
            if len(self.inputs) > 1:
                raise UserError(f"{self.name} needs a dict with {', '.join(self.inputs)}, each a list of texts.")
            texts = {next(iter(self.inputs)): texts}
        if set(texts) != set(self.inputs):
            raise UserError(
                f"{self.name} needs {', '.join(self.inputs)}. Received {', '.join(map(str, texts)) or 'nothing'}."
            )
        columns = {name: _encoded(name, texts[name]) for name in self.inputs}
        if len({len(values) for values in columns.values()}) != 1:
            raise UserError(f"The inputs {', '.join(columns)} must be of equal length.")
        return {name: np.array(values, dtype=object) for name, values in columns.items()}

    def _in_batches(self, function, columns: dict[str, np.ndarray], batch_size: int) -> list[dict]:
        answers: list[dict] = [{}] * len(next(iter(columns.values())))
        for rows, arrays in self._answered(function, columns, batch_size):
            for position, row in enumerate(rows):
                answers[row] = {name: _python(array[position]) for name, array in arrays.items()}
        return answers

    def _answered(
        self, function, columns: dict[str, np.ndarray], batch_size: int
    ) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
        """Numbers of texts of like length, and the answers to them."""
        lengths = [sum(map(len, texts)) for texts in zip(*columns.values(), strict=True)]
        order = np.argsort(lengths, kind="stable")
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            outputs = function({name: tf.constant(values[rows].tolist()) for name, values in columns.items()})
            yield rows, {name: tensor.numpy() for name, tensor in outputs.items()}

    def forget_traces(self) -> None:
        """Lets what ``predict`` calls be traced anew, after the model's layers have changed."""
        self._answer = None

    def rebuild(self, dtype=None) -> "Task":
        """The same task with new weights of the same values, made under the strategy now in force.

        Args:
            dtype: of the backbone, a name or policy; by default the policy now in force.
        """
        task = type(self)(self.pretrained.rebuild(dtype), **self.options())
        for weight, old in zip(task.model.weights, self.model.weights, strict=True):
            weight.assign(np.asarray(old).astype("float32"))
        task.privacy = self.privacy
        return task

    def import_head(self) -> bool:
        """Fills the head with the tensors that the checkpoint has for it; False when it has none."""
        head, tensors = self.pretrained.head_for(self.name), self.pretrained.head_tensors(self.name)
        if not head or not tensors:
            return False
        import_tensors(self, tensors, head.rules, where=self.pretrained.source)
        return True

    def save(self, directory) -> Path:
        """Writes a Hugging Face directory with ``kzoo.json`` beside it; ``kzoo.load_task`` reads it.

        Adapters are merged; they stand once more by themselves in ``adapter/``, as PEFT keeps them.

        Raises:
            UserError: the family has no place for the head's weights, or a file cannot be written.
        """
        directory = Path(directory)
        head = self.pretrained.head_for(self.name)
        in_backbone = {id(weight) for weight in self.backbone.weights}
        if head is None and any(id(weight) not in in_backbone for weight in self.model.weights):
            raise UserError(
                f"A {self.pretrained.family.MODEL_TYPE} directory has no place for the head of {self.name}. "
                "Save task.model as .keras instead."
            )
        save_directory(
            self.pretrained,
            directory,
            head=head,
            head_root=self,
            published=self.published(),
        )
        self.write_description(directory)
        if lora.describe(self) and peft.has_place(self):
            peft.save_adapter(self, directory / peft.FOLDER)
        return directory

    def write_description(self, directory: Path) -> None:
        """Writes ``kzoo.json``, which holds the task's options."""
        description = {"kzoo": __version__, "task": self.name, "options": self.description()}
        if self.privacy:
            description["privacy"] = self.privacy
        text = json.dumps(description, indent=2, ensure_ascii=False) + "\n"
        write_text(directory / DESCRIPTION, text)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.pretrained.source or self.pretrained.family.MODEL_TYPE})"


def _encoded(name: str, texts) -> list[bytes]:
    if isinstance(texts, str | bytes):
        texts = [texts]
    if not isinstance(texts, Iterable):
        raise UserError(f"{name} must be a text or a list of texts. Received {texts!r}.")
    texts = list(texts)
    for text in texts:
        if not isinstance(text, str | bytes):
            raise UserError(f"{name} must hold texts. Received {text!r}.")
    return [text.encode("utf-8", "replace") if isinstance(text, str) else text for text in texts]


def _python(value):
    """An array, or bytes, as Python's own objects: nested lists, texts, numbers."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, list):
        return [_python(one) for one in value] if value and isinstance(value[0], bytes | list) else value
    return _python(value.tolist()) if hasattr(value, "tolist") else value
