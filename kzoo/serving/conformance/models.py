"""The models that the suite asks about, and the configs to serve them with.

    FOLDER/echo/{1,2}     texts in, texts out; version 2 answers in capitals, so that a reply shows which one gave it
    FOLDER/adder/1        numbers of every kind
    FOLDER/probe/1        what cannot be seen from outside: rows in the batch, warm-up requests that ran
    FOLDER/spoiled/1      a warm-up request that fails; not in models.config, a reload brings it in
    FOLDER/models.config, batching.config, monitoring.config

The module needs TensorFlow, the suite does not.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kzoo.errors import UserError
from kzoo.serving.placing import placed, write_text

NUMBERS = "float32 float64 float16 int8 int16 int32 int64 uint8 uint32 uint64 bool".split()
WARMED = 3  # warm-up requests of probe
MODELS_CONFIG, BATCHING_CONFIG, MONITORING_CONFIG = "models.config", "batching.config", "monitoring.config"
LARGEST_BATCH, SMALLEST_BATCH = 8, 4

_BATCHING = f"""\
max_batch_size {{ value: {LARGEST_BATCH} }}
batch_timeout_micros {{ value: 20000 }}
max_enqueued_batches {{ value: 100 }}
num_batch_threads {{ value: 2 }}
allowed_batch_sizes: {SMALLEST_BATCH}
allowed_batch_sizes: {LARGEST_BATCH}
"""
_MONITORING = """\
prometheus_config { enable: true path: "/monitoring/prometheus/metrics" }
"""


def models_config(base: str, *, echo: tuple[int, ...] = (1, 2), others: tuple[str, ...] = ("adder", "probe")) -> str:
    """A ``ModelServerConfig`` in text format, by the paths that the server sees; labels go with their versions."""
    labels = {1: "stable", 2: "canary"}
    versions = " ".join(f"versions: {number}" for number in echo)
    named = "\n".join(f'    version_labels {{ key: "{labels[number]}" value: {number} }}' for number in echo)
    rest = "\n".join(
        f'  config {{ name: "{name}" base_path: "{base}/{name}" model_platform: "tensorflow" }}' for name in others
    )
    return f"""\
model_config_list {{
  config {{
    name: "echo"
    base_path: "{base}/echo"
    model_platform: "tensorflow"
    model_version_policy {{ specific {{ {versions} }} }}
{named}
  }}
{rest}
}}
"""


def write_models(folder: Path | str, *, base: str = "") -> Path:
    """Writes models and configs into a new folder, which appears whole.

    Args:
        folder: where to.
        base: the folder's path as the server will see it (in a container); by default where it lies.

    Raises:
        UserError: the folder is there already, or a base that is not absolute.
    """
    folder = Path(folder).absolute()
    base = (base or str(folder)).rstrip("/")
    if not base.startswith("/"):
        raise UserError(f"A server wants absolute paths of its models. Received base={base!r}.")
    import tensorflow as tf

    with placed(folder) as aside:
        for version, words in ((1, ("short", "long", "empty")), (2, ("SHORT", "LONG", "EMPTY"))):
            _save(_echo(words), aside / "echo" / str(version))
        _save(_adder(), aside / "adder" / "1")
        _save(_probe(), aside / "probe" / "1")
        _warm_up(aside / "probe" / "1", [tf.constant(["a text"])] * WARMED)
        _save(_probe(), aside / "spoiled" / "1")
        _warm_up(aside / "spoiled" / "1", [tf.constant([1.0])])
        write_text(aside / MODELS_CONFIG, models_config(base))
        write_text(aside / BATCHING_CONFIG, _BATCHING)
        write_text(aside / MONITORING_CONFIG, _MONITORING)
    return folder


def _spec(name: str, dtype: Any, *inner: int) -> Any:
    import tensorflow as tf

    return tf.TensorSpec([None, *inner], dtype, name=name)


def _traced(*specs: Any) -> Any:
    import tensorflow as tf

    return tf.function(input_signature=specs, autograph=False)


def _save(signatures: dict[str, Any], folder: Path) -> None:
    import tensorflow as tf

    module = tf.Module()
    module.kept = signatures  # variables that a signature reads must hang on what is saved
    tf.saved_model.save(module, str(folder), signatures={k: v for k, v in signatures.items() if k != "variables"})


def _echo(words: tuple[str, str, str]) -> dict[str, Any]:
    """Texts [B]: how long each is, the text itself, the text several times, and both over ``tf.Example``."""
    import tensorflow as tf

    short, long, empty = words
    repeat_twice = tf.constant([2])

    def scores(text: Any) -> Any:  # [B...] -> [B..., 3]; see expected.scores
        length = tf.cast(tf.strings.length(text, unit="UTF8_CHAR"), tf.float32)
        return tf.nn.softmax(tf.stack([8.0 - length, length - 8.0, 4.0 - 8.0 * length], axis=-1))

    def text_of(serialized: Any) -> Any:
        return tf.io.parse_example(serialized, {"text": tf.io.FixedLenFeature([], tf.string)})["text"]

    @_traced(_spec("text", tf.string))
    def label(text):
        found = scores(text)
        return {
            "label": tf.gather(tf.constant([short, long, empty]), tf.argmax(found, axis=-1)),
            "scores": found,
            "length": tf.strings.length(text, unit="UTF8_CHAR"),
        }

    @_traced(_spec("text", tf.string))
    def copies(text):
        return {"text": text, "data_bytes": text}

    @_traced(_spec("prompt", tf.string), _spec("times", tf.int32))
    def repeat(prompt, times=repeat_twice):
        with tf.control_dependencies([tf.debugging.assert_positive(times, message="times must be positive")]):
            times = tf.identity(times)
        asked = tf.broadcast_to(times, tf.shape(prompt))  # a default of one row serves any number of them
        copied = tf.sequence_mask(asked, tf.reduce_max(times))  # [B, most]
        return {"text": tf.strings.reduce_join(tf.where(copied, prompt[:, None], ""), axis=-1)}

    @_traced(_spec("inputs", tf.string))
    def classify(inputs):
        found = scores(text_of(inputs))
        return {"classes": tf.broadcast_to(tf.constant([short, long, empty]), tf.shape(found)), "scores": found}

    @_traced(_spec("inputs", tf.string))
    def regress(inputs):
        return {"outputs": tf.cast(tf.strings.length(text_of(inputs)), tf.float32)}

    return {"serving_default": label, "copies": copies, "repeat": repeat, "classify": classify, "regress": regress}


def _adder() -> dict[str, Any]:
    """Numbers: their sum, themselves in every type, and what is not finite."""
    import tensorflow as tf

    @_traced(_spec("x", tf.float32, 2))
    def add(x):
        return {"sum": tf.reduce_sum(x, axis=-1)}

    @_traced(*(_spec(name, tf.as_dtype(name)) for name in NUMBERS))
    def same(*values):
        return {f"{name}_out": tf.identity(value) for name, value in zip(NUMBERS, values, strict=True)}

    @_traced(_spec("x", tf.float32))
    def special(x):
        return {"quotient": x / 0.0, "matrix": tf.stack([x, -x], axis=-1)[:, None]}

    return {"serving_default": add, "same": same, "special": special}


def _probe() -> dict[str, Any]:
    """What happens inside: ``batch`` [B] rows that ran together, ``warmed`` [B] warm-up requests that have run."""
    import tensorflow as tf

    warmed = tf.Variable(0, dtype=tf.int32)
    without_half = [name for name in NUMBERS if name != "float16"]

    @_traced(_spec("text", tf.string))
    def inside(text):
        return {"batch": tf.zeros_like(text, tf.int32) + tf.shape(text)[0], "warmed": tf.fill(tf.shape(text), warmed)}

    @_traced(_spec("text", tf.string))
    def warm(text):
        return {"warmed": tf.fill(tf.shape(text), warmed.assign_add(1))}

    @_traced(*(_spec(name, tf.as_dtype(name)) for name in without_half))
    def numbers(*values):
        return {f"{name}_out": tf.identity(value) for name, value in zip(without_half, values, strict=True)}

    return {"serving_default": inside, "warm": warm, "numbers": numbers, "variables": [warmed]}


def _warm_up(version: Path, texts: list[Any]) -> None:
    """Warm-up requests to ``warm``, one a text [1] (or what it will not take)."""
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    folder = version / "assets.extra"
    folder.mkdir()
    with tf.io.TFRecordWriter(str(folder / "tf_serving_warmup_requests")) as writer:
        for text in texts:
            log = prediction_log_pb2.PredictionLog()
            request = log.predict_log.request
            request.model_spec.name, request.model_spec.signature_name = "probe", "warm"
            request.inputs["text"].CopyFrom(tf.make_tensor_proto(text))
            writer.write(log.SerializeToString())
