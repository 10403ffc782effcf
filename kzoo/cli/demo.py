"""``kzoo demo``: the zoo's main job on real input, from a checkpoint to served answers."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kzoo.cli.output import count, duration, print_table
from kzoo.cli.serve import Runner

if TYPE_CHECKING:
    from kzoo.serving.launch import Served
    from kzoo.training import Run

CONFIG = "configs/classify/movie-reviews.yaml"
MODEL = "reviews"  # the name it is served under
STEPS = 6
QUESTIONS = [
    "A warm, funny film, and beautifully acted.",
    "Two hours of my life that I will never get back.",
    "The plot is thin, but the songs carry it.",
]


def demo(
    folder: Annotated[str, typer.Option(metavar="FOLDER", help="Where everything goes.")] = "runs/demo",
    rows: Annotated[
        int | None, typer.Option(min=100, help="Learn from so many reviews only: quicker, and less accurate.")
    ] = None,
    runner: Annotated[
        Runner, typer.Option(metavar="NAME", help="auto, tensorflow_model_server, docker or embedded.")
    ] = "auto",
) -> None:
    """Do the zoo's main job on real input, in under ten minutes on two cores.

    Pulls all-MiniLM-L6-v2 and 10,605 movie reviews, fine-tunes a sentiment classifier, measures it on reviews it has
    not seen, exports it, writes a TensorFlow Serving bundle, serves that on this machine, asks it over REST and gRPC,
    and stops. Ctrl-C during training saves; the same command goes on, and uses what is done already.
    """
    start = time.perf_counter()
    home = Path(folder)
    pull_all()
    run = fine_tune(home / "run", rows)
    exported = export_run(run, home / "export")
    bundled = bundle_export(exported, home / "bundle")
    serve_and_ask(bundled, runner)
    tell_next(home, time.perf_counter() - start)


@contextmanager
def step(number: int, title: str) -> Iterator[None]:
    """Announces a step in one line, and its time when it has ended."""
    start = time.perf_counter()
    print(f"\n[{number}/{STEPS}] {title}", flush=True)
    yield
    print(f"      {duration(time.perf_counter() - start)}", flush=True)


def note(text: str) -> None:
    """Prints what a step has to say."""
    print(f"      {text}", flush=True)


def short(path: Path) -> str:
    """Returns a path with ``~`` for the user's home."""
    return str(path).replace(str(Path.home()), "~", 1)


def pull_all() -> None:
    """Brings the model and the reviews into the cache."""
    from kzoo.cli.pull import bring, progress_bar
    from kzoo.data.download import describe

    with step(1, "Pull a BERT-style model and movie reviews (each verified by sha256, kept in the cache)"):
        for name in ("minilm-l6-v2", "movie-reviews"):
            with progress_bar(name) as progress:
                path = bring(name, progress)
            known = describe(name)
            note(f"{known.title}: {count(known.size or 0)}B, {known.license}, in {short(path)}")


def fine_tune(folder: Path, rows: int | None) -> Run:
    """Trains through the config that ``kzoo train`` would take."""
    from kzoo.cli.train import find_config

    with step(2, f"Fine-tune a sentiment classifier with Keras fit (as `kzoo train {CONFIG}` does)"):
        from kzoo.training.train import train

        overrides = [f"output={folder}", *([f"data.limit={rows}"] if rows else [])]
        note("Importing TensorFlow and building the model takes a few seconds.")
        run = train(find_config(CONFIG), overrides, say=note)
        measured = run.metrics["validation"]
        low, high = measured["accuracy_interval_95"]
        note(f"Accuracy on {measured['examples']} reviews held out from it: {measured['accuracy']:.3f}")
        note(f"95% interval: {low:.3f} to {high:.3f}. Curves for TensorBoard: {run.tensorboard}")
    return run


def export_run(run: Run, folder: Path) -> Path:
    """Writes the SavedModel."""
    from kzoo.serving.export import export

    with step(3, "Export a SavedModel that takes raw text (its answers and operations are checked before it appears)"):
        path = export(run.task, folder, overwrite=True)
        size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        note(f"{path}: {count(size)}B, tokenizer and weights inside")
    return path


def bundle_export(exported: Path, folder: Path) -> Path:
    """Writes a new bundle."""
    from kzoo.serving.bundle import bundle

    with step(4, "Write a TensorFlow Serving bundle around it"):
        shutil.rmtree(folder, ignore_errors=True)  # the last demo's; it would get this model as its next version
        path = bundle({MODEL: exported}, folder)
        note(f"{path}: {', '.join(sorted(entry.name for entry in path.iterdir()))}")
    return path


def serve_and_ask(bundled: Path, runner: Runner) -> None:
    """Starts a server on free ports of this machine, asks it both ways, and stops it."""
    from kzoo.serving.launch import serve

    with step(5, "Serve the bundle on this machine"):
        served = serve(bundled, rest_port=0, grpc_port=0, runner=runner, say=note)
    with served:
        with step(6, "Ask it over REST, and over gRPC with TensorFlow Serving's own stubs"):
            over_rest = ask_rest(served)
            over_grpc = ask_grpc(served)
            print_table(
                ["text", "over REST", "over gRPC"],
                zip(QUESTIONS, map(in_words, over_rest), map(in_words, over_grpc), strict=True),
            )
    print("The server was stopped.", flush=True)


def ask_rest(served: Served) -> list[dict[str, Any]]:
    """POSTs the questions to ``:predict``, as any HTTP client does."""
    import httpx

    body = {"instances": [{"text": text} for text in QUESTIONS]}
    reply = httpx.post(f"{served.rest_address}/v1/models/{MODEL}:predict", json=body, timeout=30)
    reply.raise_for_status()
    return reply.json()["predictions"]


def ask_grpc(served: Served) -> list[dict[str, Any]]:
    """Sends the questions through ``tensorflow_serving.apis``, as any gRPC client does."""
    import grpc
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    request = predict_pb2.PredictRequest()
    request.model_spec.name = MODEL
    request.inputs["text"].CopyFrom(tf.make_tensor_proto(QUESTIONS, shape=[len(QUESTIONS)]))
    with grpc.insecure_channel(served.grpc_address) as channel:
        reply = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=30)
    answers = {name: tf.make_ndarray(value) for name, value in reply.outputs.items()}
    return [
        {"label": label.decode(), "scores": scores}
        for label, scores in zip(answers["label"], answers["scores"], strict=True)
    ]


def in_words(answer: dict[str, Any]) -> str:
    """Returns the label with its score."""
    return f"{answer['label']} ({max(answer['scores']):.3f})"


def tell_next(home: Path, seconds: float) -> None:
    """Ends with three commands to try."""
    here = Path(sys.executable).parent
    found = shutil.which("kzoo")
    if found is not None and Path(found).resolve().parent == here.resolve():
        prefix = ""
    else:
        relative = os.path.relpath(here)
        prefix = f"{here if relative.startswith('..') else relative}/"
    print(f"\nDone in {duration(seconds)}. Three commands to try next:\n")
    print(f'  {prefix}kzoo predict {home}/run "What did you think of the film?" "Never again."')
    print(f"  {prefix}kzoo serve {home}/bundle")
    print(f"  {prefix}tensorboard --logdir {home}", flush=True)
