"""What a run is made of: the schema of ``configs/*/*.yaml``. Imports neither TensorFlow nor Keras."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from kzoo.data.readers import Reading
from kzoo.models import zoo
from kzoo.models.families import FAMILIES

Precision = Literal["float32", "mixed_bfloat16", "mixed_float16"]
StrategyName = Literal["auto", "one_device", "mirrored", "multi_worker", "parameter_server"]


class Section(BaseModel):
    """A part of the config: knows all its keys."""

    model_config = ConfigDict(extra="forbid", validate_default=True)


class VocabularyConfig(Section):
    """A tokenizer to train on the run's own training text."""

    kind: Literal["byte_level_bpe", "wordpiece"] = Field(
        "byte_level_bpe", description="byte_level_bpe for models such as GPT-2, wordpiece for those such as BERT."
    )
    vocabulary_size: int = Field(ge=257, description="Tokens, special ones among them.")


class ModelConfig(Section):
    """The model to start from: one of the zoo or a folder (``name``), or a fresh one (``family`` and ``sizes``)."""

    name: str | None = Field(None, description="A model of the zoo, or the path of a folder.")
    family: str | None = Field(
        None, description="For fresh weights: a family, such as gpt2, or a size of the zoo, such as gpt3-125m."
    )
    sizes: dict[str, Any] = Field({}, description="The family's figures: hidden_dim, num_layers, ...")
    tokenizer: str | VocabularyConfig | None = Field(
        None, description="For fresh weights: a model of the zoo or folder whose tokenizer to use, or one to train."
    )

    @model_validator(mode="after")
    def _one_source(self):
        if (self.name is None) == (self.family is None):
            raise ValueError(
                "give either name (a model of the zoo or a folder) or family with sizes and tokenizer (fresh weights), "
                "not both and not neither"
            )
        is_size = self.family in zoo.names() and self.family not in FAMILIES
        if self.family is not None and (self.tokenizer is None or not (self.sizes or is_size)):
            raise ValueError("fresh weights need sizes and tokenizer beside family")
        if self.name is not None and (self.sizes or self.tokenizer is not None):
            raise ValueError("sizes and tokenizer belong to family (fresh weights); a named model brings its own")
        return self


class TaskConfig(Section):
    """What the model is to learn."""

    name: str = Field(description="classify, generate, ...")
    labels: list[str] | None = Field(
        None, min_length=1, description="Names of classes, or types of entities; those of the data when absent."
    )
    max_length: int | None = Field(None, ge=2, description="Longest text in tokens; what is longer is cut.")
    options: dict[str, Any] = Field({}, description="Further arguments of the task.")


class DataConfig(Reading):
    """The examples; the keys of ``Reading`` (format, columns, label, ...) say how their files are read."""

    train: str = Field(
        description="A data set's name (see `kzoo pull`), a file, a folder of files, or one of `kzoo data tokenize`."
    )
    validation: str | None = Field(None, description="Another one; absent: rows held out of train.")
    held_out: float = Field(0.1, ge=0.0, description="Share (or, from 1 on, number) of rows kept for validation.")
    stratify: str | None = Field(None, description="Column whose shares both parts keep.")
    group: str | None = Field(None, description="Column whose values are each in one part only: title, author, ...")
    limit: int | None = Field(None, ge=1, description="Use this many rows only, drawn by the seed.")
    share: Literal["rows", "files"] = Field(
        "rows", description="Of several workers each reads all files and takes its rows, or reads its own files only."
    )
    seed: int = 0

    @property
    def reading(self) -> dict[str, Any]:
        """The arguments of ``kzoo.data.read``; what is at its default leaves a data set's own word."""
        return self.model_dump(include=set(Reading.model_fields), exclude_defaults=True)


class LoraConfig(Section):
    """Adapters that learn in the place of the whole model (`docs/lora.md`)."""

    rank: int = Field(8, ge=1, description="Width of the adapters.")
    alpha: float = Field(16.0, gt=0.0, description="Their change is scaled by alpha / rank.")
    targets: list[str] | str = Field(["query", "value"], description="Names of linear layers, or all.")
    dropout: float = Field(0.0, ge=0.0, lt=1.0, description="Rate at which their inputs are dropped.")


class PrivacyConfig(Section):
    """Differential privacy of the examples (`docs/privacy.md`)."""

    epsilon: float | None = Field(None, gt=0.0, description="What the whole run may spend. Or give noise_multiplier.")
    noise_multiplier: float | None = Field(
        None, gt=0.0, description="Standard deviation of the noise, in units of clip. Or give epsilon."
    )
    delta: float | None = Field(
        None, gt=0.0, lt=1.0, description="Probability with which epsilon may not hold; by default 1 / (10 examples)."
    )
    clip: float = Field(1.0, gt=0.0, description="Longest gradient of one example.")
    secret: bool = Field(
        True, description="Draw noise and batches from a seed that nobody knows. false: from training.seed, for tests."
    )

    @model_validator(mode="after")
    def _one_measure(self):
        if (self.epsilon is None) == (self.noise_multiplier is None):
            raise ValueError("privacy needs epsilon or noise_multiplier, and not both")
        return self


class TrainingConfig(Section):
    """How it learns. These are also the keyword arguments of ``kzoo.fit``."""

    epochs: int | None = Field(None, ge=1, description="Passes over the data. Give epochs or steps.")
    steps: int | None = Field(None, ge=1, description="Updates, over as many passes as that takes.")
    batch_size: int = Field(32, ge=1, description="Rows an update, over all devices.")
    learning_rate: float = Field(5e-5, gt=0.0)
    schedule: Literal["linear", "cosine", "constant", "inverse_square_root"] = "linear"
    warmup: float = Field(0.1, ge=0.0, description="Updates of rising rate; below 1: as a share of all.")
    end_factor: float = Field(0.0, ge=0.0, le=1.0, description="What is left of the rate at the end.")
    weight_decay: float = Field(0.01, ge=0.0)
    no_decay: list[str] = Field([], description="Patterns of weights to spare beside biases and norms.")
    layer_decay: float | None = Field(
        None, gt=0.0, le=1.0, description="Factor on the learning rate from a layer to the one before it."
    )
    freeze: list[str] = Field([], description="Patterns of weights that stay as they are.")
    optimizer: dict[str, Any] | None = Field(
        None, description="Another of Keras's optimizers: its name and arguments. Absent: AdamW by the keys here."
    )
    beta_1: float = Field(0.9, ge=0.0, lt=1.0)
    beta_2: float = Field(0.999, ge=0.0, lt=1.0)
    epsilon: float = Field(1e-8, gt=0.0)
    clip_norm: float | None = Field(1.0, gt=0.0, description="Longest gradient, over all weights; null: any.")
    privacy: PrivacyConfig | None = Field(
        None, description="Learn with differential privacy; batch_size is then the expected one, clip_norm unused."
    )
    accumulate: int = Field(1, ge=1, description="Parts of a batch computed one after the other, to save memory.")
    recompute: bool = Field(False, description="Compute activations again on the way back, to save memory.")
    label_smoothing: float = Field(0.0, ge=0.0, lt=1.0, description="Share of a target spread over all classes.")
    ema: float | None = Field(
        None, gt=0.0, lt=1.0, description="Keep moving averages of the weights with this momentum; they are the result."
    )
    precision: Precision = "float32"
    strategy: StrategyName = "auto"
    device: Literal["auto", "cpu", "gpu"] = Field("auto", description="gpu: stop when none is seen.")
    jit: bool = Field(False, description="Compile the model's forward and backward pass with XLA.")
    deterministic: bool = Field(False, description="Ops that give the same bits at every run; slower.")
    seed: int = Field(0, ge=0, lt=2**31)
    checkpoint_every: int | None = Field(None, ge=1, description="Steps between checkpoints, beside each epoch's end.")
    keep_checkpoints: int = Field(2, ge=1, description="The last so many checkpoints are kept.")
    validate_every: int | None = Field(None, ge=1, description="Steps between validations, beside each epoch's end.")
    best: str | None = Field(
        None, description="Measure of the validation, such as val_loss, by which the best weights are kept."
    )
    result: Literal["last", "best"] = Field("last", description="Which weights the run ends with.")

    @model_validator(mode="after")
    def _length(self):
        if self.epochs is not None and self.steps is not None:
            raise ValueError("give epochs or steps, not both")
        if self.epochs is None and self.steps is None:
            self.epochs = 1
        if self.optimizer is not None and ("name" not in self.optimizer or self.layer_decay is not None):
            raise ValueError("optimizer gives a name, and arguments, of Keras; layer_decay is for AdamW alone")
        if self.result == "best" and self.best is None:
            raise ValueError("result: best needs the measure in best, such as best: val_loss")
        if self.warmup >= 1 and self.warmup != int(self.warmup):
            raise ValueError(f"warmup counts whole steps, or is a share below 1; received {self.warmup}")
        return self


class SamplesConfig(Section):
    """Texts that a model writes while it learns, to be read in TensorBoard."""

    prompts: list[str] = Field(min_length=1)
    every: int | None = Field(None, ge=1, description="Steps between samples, beside each epoch's end.")
    options: dict[str, Any] = Field({}, description="max_new_tokens, temperature, ...")


class GuessesConfig(Section):
    """What a masked language model takes masked words of the validation for, to be read in TensorBoard."""

    texts: int = Field(4, ge=0, le=64, description="How many; 0 for none.")
    words: int = Field(3, ge=1, le=50, description="Likeliest words for each place.")
    every: int | None = Field(None, ge=1, description="Steps between them, beside each epoch's end.")


class ProjectorConfig(Section):
    """Vectors for TensorBoard's Projector."""

    points: int = Field(500, ge=2, le=100_000, description="Texts of the validation, or tokens of a language model.")
    each_epoch: bool = Field(False, description="At the end of each epoch too, not of the run alone.")


class LoggingConfig(Section):
    """What one sees of the run. Never changes the result."""

    tensorboard: bool = True
    every: int = Field(10, ge=1, description="Steps between points of the training curves.")
    graph: bool = Field(False, description="Write the model's graph.")
    progress: Literal["auto", "bar", "line", "none"] = Field(
        "auto", description="auto: a bar on a terminal, else a line an epoch."
    )
    samples: SamplesConfig | None = None
    guesses: GuessesConfig = GuessesConfig()
    pictures: bool = Field(True, description="Of a classifier: confusion matrix and precision-recall curves.")
    projector: ProjectorConfig | None = Field(None, description="Its keys, or a number of points.")
    histograms: bool | int = Field(
        False, description="Of the weights: true at each epoch's end, a number every so many steps, too."
    )
    profile: int | tuple[int, int] | None = Field(
        None, description="A profile of the steps [first, last], or of so many from the 6th on."
    )
    peak_teraflops: float | None = Field(
        None, gt=0.0, description="Peak of a device in the run's precision; known for many GPUs."
    )

    @field_validator("projector", mode="before")
    @classmethod
    def _number_of_points(cls, value):
        return {"points": value} if isinstance(value, int) and not isinstance(value, bool) else value

    @model_validator(mode="after")
    def _whole_numbers(self):
        if self.histograms is not True and self.histograms < 0:
            raise ValueError(f"histograms is true, false or a number of steps; received {self.histograms}")
        first, last = (
            self.profile if isinstance(self.profile, tuple) else (1, 1 if self.profile is None else self.profile)
        )
        if not 1 <= first <= last:
            raise ValueError(f"profile names steps from 1 on, [first, last], or how many; received {self.profile}")
        return self


class RunConfig(Section):
    """A whole run, as ``kzoo train CONFIG.yaml`` reads it."""

    model: ModelConfig
    task: TaskConfig
    data: DataConfig
    lora: LoraConfig | None = None
    training: TrainingConfig = TrainingConfig()
    logging: LoggingConfig = LoggingConfig()
    output: str = Field(description="The run's folder; made when absent.")
