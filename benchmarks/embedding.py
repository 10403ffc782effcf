"""MiniLM embeddings of 1,000 real sentences: kzoo's SavedModel, KerasHub, PyTorch and ONNX Runtime.

    python benchmarks/embedding.py

Needs the extra ``parity`` for PyTorch, and ``onnx onnxruntime onnxscript`` for ONNX Runtime; a peer that is not
installed is left out. Every peer starts from strings and ends with normalized vectors in memory. The peers are fed as
their best users feed them: sorted by length, 32 at a time, each batch padded to its longest; kzoo's SavedModel gets all
sentences in one request, unsorted, as a client sends them. Each peer's vectors are compared with kzoo's.

The case ``mixed`` has movie-review snippets of all lengths; ``equal`` has snippets cut and chosen so that all have 32
tokens, where sorting and padding make no difference.
"""

import importlib.util
import json
import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parent))

import harness
import numpy as np

CASES = ["mixed", "equal"]
NUMBER = 1000
BATCH = 32
TOKENS = 32
FOLDER = Path(tempfile.gettempdir()) / "kzoo-benchmark-embedding"


def minilm() -> Path:
    """The directory of all-MiniLM-L6-v2."""
    from kzoo.data import pull

    return Path(pull("minilm-l6-v2"))


def sentences(case: str) -> list[str]:
    """1,000 snippets: as they come, or exactly 32 tokens long."""
    import tokenizers

    from kzoo.data import pull

    lines = Path(pull("movie-reviews")).read_text(encoding="utf-8").splitlines()
    texts = [line.split("\t")[2] for line in lines if line.count("\t") == 2]
    if case == "mixed":
        return texts[:: len(texts) // NUMBER][:NUMBER]
    tokenizer = tokenizers.Tokenizer.from_file(str(minilm() / "tokenizer.json"))
    tokenizer.no_padding()
    cut = []
    for text in texts:
        offsets = tokenizer.encode(text, add_special_tokens=False).offsets
        if len(offsets) >= TOKENS - 2:
            text = text[: offsets[TOKENS - 3][1]]
            if len(tokenizer.encode(text).ids) == TOKENS:
                cut.append(text)
    return (cut * 4)[:NUMBER]


def batches(texts: list[str]) -> list[list[int]]:
    """Row numbers sorted by length, 32 at a time."""
    order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
    return [order[start : start + BATCH] for start in range(0, len(order), BATCH)]


def fast_tokenizer():
    """Hugging Face's Rust tokenizer, padding to the longest of a batch."""
    import tokenizers

    tokenizer = tokenizers.Tokenizer.from_file(str(minilm() / "tokenizer.json"))
    tokenizer.enable_padding()
    tokenizer.enable_truncation(512)
    return tokenizer


def checked(case: str, run):
    """Times the worker, and reports how many of its vectors are not kzoo's (a difference above 1e-3)."""
    reference = FOLDER / f"{case}.npy"
    vectors = run()
    if not reference.exists():  # kzoo is asked first
        np.save(reference, vectors)
    differing = int((np.abs(vectors - np.load(reference)).max(axis=1) > 1e-3).sum())

    def timed():
        run()
        return {"differing": differing}

    return timed


def kzoo_saved_model(case: str):
    """The SavedModel that `kzoo export` writes, asked by its serving signature."""
    import tensorflow as tf
    import tensorflow_text  # noqa: F401  its operations

    import kzoo

    path = FOLDER / "saved_model"
    if not path.exists():
        kzoo.export(kzoo.Embed(kzoo.load("minilm-l6-v2")), path)
    answer = tf.saved_model.load(str(path)).signatures["serving_default"]
    texts = sentences(case)
    return checked(case, lambda: answer(text=tf.constant(texts))["embedding"].numpy())


def keras_hub(case: str):
    """KerasHub's tokenizer and backbone with the same weights, traced once."""
    import keras_hub as hub
    import tensorflow as tf

    backbone = hub.models.BertBackbone.from_preset(str(minilm()))
    tokenizer = hub.models.BertTokenizer.from_preset(str(minilm()))
    start, end = tokenizer.cls_token_id, tokenizer.sep_token_id

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def embed(text):
        ids = tokenizer(text)[:, :510]
        rows = ids.nrows()
        ids = tf.concat([tf.fill([rows, 1], start), tf.cast(ids, tf.int32), tf.fill([rows, 1], end)], 1)
        mask = tf.sequence_mask(ids.row_lengths())
        ids = ids.to_tensor()
        features = {"token_ids": ids, "padding_mask": mask, "segment_ids": tf.zeros_like(ids)}
        x = backbone(features, training=False)["sequence_output"]
        weights = tf.cast(mask, x.dtype)[..., None]
        return tf.math.l2_normalize(tf.reduce_sum(x * weights, 1) / tf.reduce_sum(weights, 1), -1)

    return _sorted_worker(case, lambda texts: embed(tf.constant(texts)).numpy())


def pytorch(case: str):
    """The model of transformers and tokenizer on PyTorch."""
    import torch
    import transformers

    torch.set_num_threads(os.cpu_count())
    model = transformers.AutoModel.from_pretrained(minilm()).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(minilm())

    def embed(texts):
        batch = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
        with torch.inference_mode():
            x = model(**batch).last_hidden_state
            weights = batch["attention_mask"][..., None].to(x.dtype)
            return torch.nn.functional.normalize((x * weights).sum(1) / weights.sum(1), dim=-1).numpy()

    return _sorted_worker(case, embed)


def onnx_runtime(case: str):
    """The same model exported to ONNX with dynamic axes, and the Rust tokenizer."""
    import onnxruntime

    path = FOLDER / "model.onnx"
    if not path.exists():
        _export_onnx(path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = os.cpu_count()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    tokenizer = fast_tokenizer()

    def embed(texts):
        encoded = tokenizer.encode_batch(texts)
        ids = np.array([one.ids for one in encoded], "int64")
        mask = np.array([one.attention_mask for one in encoded], "int64")
        (x,) = session.run(None, {"input_ids": ids, "attention_mask": mask})
        weights = mask[..., None].astype(x.dtype)
        vectors = (x * weights).sum(1) / weights.sum(1)
        return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)

    return _sorted_worker(case, embed)


def _export_onnx(path: Path) -> None:
    import torch
    import transformers

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = transformers.AutoModel.from_pretrained(minilm()).eval()

        def forward(self, input_ids, attention_mask):
            return self.inner(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state

    ids, mask = torch.randint(1000, 2000, (2, 9)), torch.ones((2, 9), dtype=torch.int64)
    axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length")}
    program = torch.onnx.export(Model(), (ids, mask), dynamo=True, dynamic_shapes=(axes, axes))
    program.model.graph.inputs[0].name, program.model.graph.inputs[1].name = "input_ids", "attention_mask"
    program.save(str(path))


def _sorted_worker(case, embed):
    texts = sentences(case)

    def run():
        vectors = np.zeros([len(texts), 384], "float32")
        for rows in batches(texts):
            vectors[rows] = embed([texts[row] for row in rows])
        return vectors

    return checked(case, run)


WORKERS = {
    "kzoo SavedModel": (kzoo_saved_model, "tensorflow"),
    "KerasHub": (keras_hub, "keras_hub"),
    "PyTorch": (pytorch, "torch"),
    "ONNX Runtime": (onnx_runtime, "onnxruntime"),
}


def main() -> None:
    """Runs one worker, or compares all of them."""
    options = harness.arguments(__doc__.splitlines()[0], CASES)
    FOLDER.mkdir(parents=True, exist_ok=True)
    if options.worker:
        harness.serve_worker(WORKERS[options.worker][0], options.case)
        return
    names = [name for name, (_, module) in WORKERS.items() if importlib.util.find_spec(module)]
    print(harness.machine(["tensorflow", "keras", "keras-hub", "torch", "transformers", "onnxruntime"]), "\n")
    for case in CASES:
        rows = harness.compare(__file__, names, case, options.rounds)
        columns = {
            f"{case} lengths": lambda row: row["name"],
            "sentences a second": lambda row: f"{NUMBER / row['median']:.0f}",
            "milliseconds (lowest to highest)": lambda row: (
                f"{row['median'] * 1e3:.0f} ({row['low'] * 1e3:.0f} to {row['high'] * 1e3:.0f})"
            ),
            "time over kzoo's": lambda row: f"{row['ratio']:.2f}",
            "vectors unlike kzoo's": lambda row: str(row["differing"]),
        }
        print(harness.table(rows, columns), "\n", flush=True)
        (FOLDER / f"{case}.json").write_text(json.dumps(rows))


if __name__ == "__main__":
    main()
