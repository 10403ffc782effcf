"""From `kzoo serve` to the first answer, and the first answer against the next hundred.

    python benchmarks/first_answer.py

Exports all-MiniLM-L6-v2 as an embedder, with warm-up requests and without, puts it in a bundle, starts `kzoo serve`
on it (TensorFlow Serving when it is installed, else the embedded server) and asks single real sentences over REST.
Times run from the start of the command; the imports of Python and TensorFlow are in them.
"""

import argparse
import http.client
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parent))

import embedding
import harness

NEXT = 100


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def ask(connection: http.client.HTTPConnection, text: str) -> float:
    """Milliseconds of one request."""
    begin = time.perf_counter()
    connection.request("POST", "/v1/models/minilm:predict", json.dumps({"instances": [text]}))
    answer = connection.getresponse()
    body = answer.read()
    if answer.status != 200:
        raise SystemExit(f"the server answered {answer.status}: {body[:200]!r}")
    return (time.perf_counter() - begin) * 1e3


def measure(bundle: Path, texts: list[str]) -> dict:
    """Starts the server on a bundle, waits until it is available, and asks."""
    port = free_port()
    command = [sys.executable, "-m", "kzoo", "serve", str(bundle), "--rest-port", str(port)]
    command += ["--grpc-port", str(free_port())]
    begin = time.perf_counter()
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while True:
            if server.poll() is not None:
                raise SystemExit(f"the server ended with {server.returncode}")
            connection = http.client.HTTPConnection("127.0.0.1", port)
            try:
                connection.request("GET", "/v1/models/minilm")
                if b"AVAILABLE" in connection.getresponse().read():
                    break
            except OSError:
                pass
            time.sleep(0.02)
        available = time.perf_counter() - begin
        first = ask(connection, texts[0])
        answered = time.perf_counter() - begin
        following = [ask(connection, text) for text in texts[1 : NEXT + 1]]
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(timeout=60)
    return {"available": available, "answered": answered, "first": first, "median": statistics.median(following)}


def main() -> None:
    """Alternates starts of the two bundles and prints medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="starts of each server")
    rounds = parser.parse_args().rounds

    import kzoo

    texts = embedding.sentences("mixed")[:: len(embedding.sentences("mixed")) // (NEXT + 1)]
    folder = Path(tempfile.mkdtemp(prefix="kzoo-benchmark-"))
    try:
        task = kzoo.Embed(kzoo.load("minilm-l6-v2"))
        bundles = {}
        for name, options in (("with warm-up", {}), ("without", {"warm_up": None})):
            saved_model = kzoo.export(task, folder / f"export {name}", **options)
            bundles[name] = kzoo.bundle({"minilm": saved_model}, folder / f"bundle {name}")
        print(harness.machine(["tensorflow", "grpcio", "starlette", "uvicorn"]), "\n")
        runs: dict[str, list[dict]] = {name: [] for name in bundles}
        for _ in range(rounds):
            for name, bundle in bundles.items():
                runs[name].append(measure(Path(bundle), texts))
        rows = [
            {"name": name}
            | {key: statistics.median(run[key] for run in taken) for key in taken[0]}
            | {"ratio": statistics.median(run["first"] / run["median"] for run in taken)}
            for name, taken in runs.items()
        ]
        columns = {
            "export": lambda row: row["name"],
            "seconds until AVAILABLE": lambda row: f"{row['available']:.1f}",
            "until the first answer": lambda row: f"{row['answered']:.1f}",
            "first answer, ms": lambda row: f"{row['first']:.1f}",
            "median of the next hundred, ms": lambda row: f"{row['median']:.1f}",
            "first over median": lambda row: f"{row['ratio']:.2f}",
        }
        print(harness.table(rows, columns))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
