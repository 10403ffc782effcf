"""Text classifiers behind FastAPI, as their users put them up: python benchmarks/serving_peers.py NAME DIRECTORY PORT.

Each joins the requests of a few milliseconds in a batch, pads it to its longest, and runs it in one worker thread; the
model's own threads use all cores. ``nothing`` answers at once: what the load generator and HTTP take by themselves.
"""

import asyncio
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

LARGEST = 32  # rows of a batch
WAIT = 0.002  # seconds that the first request of a batch waits for others
Model = Callable[[list[str]], tuple[list[str], np.ndarray]]


class Batcher:
    """Joins requests that arrive within ``WAIT`` seconds, or while a batch runs.

    Args:
        model: texts to labels and scores ``[B, C]``.
    """

    def __init__(self, model: Model):
        self._model = model
        self._waiting: asyncio.Queue = asyncio.Queue()
        self._thread = ThreadPoolExecutor(1)

    async def run(self) -> None:
        """Runs batches for ever."""
        loop = asyncio.get_running_loop()
        while True:
            batch = [await self._waiting.get()]
            end = loop.time() + WAIT
            while len(batch) < LARGEST:
                if self._waiting.empty() and loop.time() >= end:
                    break
                try:
                    batch.append(await asyncio.wait_for(self._waiting.get(), max(0.0, end - loop.time())))
                except TimeoutError:
                    break
            texts = [text for text, _ in batch]
            try:
                labels, scores = await loop.run_in_executor(self._thread, self._model, texts)
            except Exception as error:
                for _, answer in batch:
                    answer.set_exception(error)
                continue
            for (_, answer), label, row in zip(batch, labels, scores.tolist(), strict=True):
                answer.set_result({"label": label, "scores": row})

    async def ask(self, text: str) -> dict:
        """The answer to one text."""
        answer = asyncio.get_running_loop().create_future()
        await self._waiting.put((text, answer))
        return await answer


def _settings(directory: Path):
    import json

    config = json.loads((directory / "config.json").read_text())
    return [config["id2label"][str(number)] for number in range(len(config["id2label"]))]


def _softmax(x: np.ndarray) -> np.ndarray:
    x = np.exp(x - x.max(-1, keepdims=True))
    return x / x.sum(-1, keepdims=True)


def _fast_tokenizer(directory: Path):
    import tokenizers

    tokenizer = tokenizers.Tokenizer.from_file(str(directory / "tokenizer.json"))
    tokenizer.enable_padding()
    tokenizer.enable_truncation(512)
    return tokenizer


def pytorch(directory: Path) -> Model:
    """transformers, its fast tokenizer, torch.inference_mode."""
    import torch
    import transformers

    torch.set_num_threads(os.cpu_count())
    labels = _settings(directory)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(directory).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)

    def classify(texts):
        with torch.inference_mode():
            logits = model(**tokenizer(texts, padding=True, truncation=True, return_tensors="pt")).logits
            scores = torch.softmax(logits, -1).numpy()
        return [labels[number] for number in scores.argmax(-1)], scores

    return classify


def onnx_runtime(directory: Path) -> Model:
    """The same model exported to ONNX with dynamic axes, and the Rust tokenizer."""
    import onnxruntime

    labels = _settings(directory)
    path = directory / "model.onnx"
    if not path.exists():
        _export_onnx(directory, path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = os.cpu_count()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    tokenizer = _fast_tokenizer(directory)

    def classify(texts):
        encoded = tokenizer.encode_batch(texts)
        ids = np.array([one.ids for one in encoded], "int64")
        mask = np.array([one.attention_mask for one in encoded], "int64")
        scores = _softmax(session.run(None, {"input_ids": ids, "attention_mask": mask})[0])
        return [labels[number] for number in scores.argmax(-1)], scores

    return classify


def _export_onnx(directory: Path, path: Path) -> None:
    import torch
    import transformers

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = transformers.AutoModelForSequenceClassification.from_pretrained(directory).eval()

        def forward(self, input_ids, attention_mask):
            return self.inner(input_ids=input_ids, attention_mask=attention_mask).logits

    ids, mask = torch.randint(1000, 2000, (2, 9)), torch.ones((2, 9), dtype=torch.int64)
    axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length")}
    program = torch.onnx.export(Model(), (ids, mask), dynamo=True, dynamic_shapes=(axes, axes))
    program.model.graph.inputs[0].name, program.model.graph.inputs[1].name = "input_ids", "attention_mask"
    program.save(str(path))


def keras_hub(directory: Path) -> Model:
    """KerasHub's tokenizer and backbone with the same weights, traced once for every shape, under the same head."""
    import keras_hub as hub
    import safetensors.numpy
    import tensorflow as tf

    labels = _settings(directory)
    backbone = hub.models.BertBackbone.from_preset(str(directory))
    tokenizer = hub.models.BertTokenizer.from_preset(str(directory))
    start, end = tokenizer.cls_token_id, tokenizer.sep_token_id
    weights = safetensors.numpy.load_file(str(directory / "model.safetensors"))
    kernel, bias = tf.constant(weights["classifier.weight"].T), tf.constant(weights["classifier.bias"])

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def scores(text):
        ids = tokenizer(text)[:, :510]
        rows = ids.nrows()
        ids = tf.concat([tf.fill([rows, 1], start), tf.cast(ids, tf.int32), tf.fill([rows, 1], end)], 1)
        mask = tf.sequence_mask(ids.row_lengths())
        ids = ids.to_tensor()
        features = {"token_ids": ids, "padding_mask": mask, "segment_ids": tf.zeros_like(ids)}
        return tf.nn.softmax(backbone(features, training=False)["pooled_output"] @ kernel + bias)

    def classify(texts):
        found = scores(tf.constant(texts)).numpy()
        return [labels[number] for number in found.argmax(-1)], found

    return classify


def nothing(directory: Path) -> Model:
    """No model."""
    return lambda texts: (["negative"] * len(texts), np.full((len(texts), 2), 0.5))


PEERS = {"PyTorch": pytorch, "ONNX Runtime": onnx_runtime, "KerasHub": keras_hub, "nothing": nothing}


def main() -> None:
    """Serves one peer."""
    import contextlib

    import fastapi
    import pydantic
    import uvicorn

    name, directory, port = sys.argv[1:]
    model = PEERS[name](Path(directory))
    words = "a film that nobody who has seen it will forget ".split() * 40
    for rows in (1, 2, 4, 8, 16, 32):  # warm-up, of the shapes that a kzoo export's has
        for length in (16, 32, 64, 128):
            if name != "nothing" and rows * length <= 1024:
                model([" ".join(words[: length - 2])] * rows)
    batcher = Batcher(model)

    @contextlib.asynccontextmanager
    async def lifespan(app):
        task = asyncio.create_task(batcher.run())
        yield
        task.cancel()

    class Question(pydantic.BaseModel):
        text: str

    class Answer(pydantic.BaseModel):
        label: str
        scores: list[float]

    app = fastapi.FastAPI(lifespan=lifespan)

    if name == "nothing":

        @app.post("/predict", response_model=Answer)
        async def predict(question: Question):
            return {"label": "negative", "scores": [0.5, 0.5]}

    else:

        @app.post("/predict", response_model=Answer)
        async def predict(question: Question):
            return await batcher.ask(question.text)

    uvicorn.run(app, host="127.0.0.1", port=int(port), log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
