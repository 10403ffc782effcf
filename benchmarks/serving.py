"""Classification of real sentences through a server: `kzoo serve` over REST and gRPC, and peers behind FastAPI.

    python benchmarks/serving.py

One client and 32 at once, movie-review snippets of all lengths. All servers stand ready; one is asked at a time, in
turn, and ratios are those of one round. Needs the extra ``parity`` and ``fastapi`` for PyTorch, and
``onnx onnxruntime onnxscript`` for ONNX Runtime; a peer that is not installed is left out.

The case ``minilm`` is all-MiniLM-L6-v2 as published under a fresh head, ``bert-base`` has BERT-base's size and random
weights. ``--ceiling`` measures the load generator against an endpoint that does nothing.
"""

import argparse
import http.client
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parent))

import embedding
import harness
import numpy as np
from first_answer import free_port

from kzoo.serving import bundle as bundles
from kzoo.serving import load
from kzoo.serving.launch import serve

CASES = ("minilm", "bert-base")
PEERS = {"PyTorch": "torch", "ONNX Runtime": "onnxruntime", "KerasHub": "keras_hub"}
FOLDER = Path(tempfile.gettempdir()) / "kzoo-benchmark-serving"
MODEL = "reviews"


def prepared(case: str) -> tuple[Path, Path]:
    """The model as a directory that transformers reads, and as a bundle; made once, in a process of its own."""
    directory, bundle = FOLDER / case / "model", FOLDER / case / "bundle"
    if not bundle.exists():
        code = "import sys; sys.path[:0] = [sys.argv[1]]; import serving; serving.prepare(sys.argv[2])"
        subprocess.run([sys.executable, "-c", code, str(Path(__file__).parent), case], check=True)
    return directory, bundle


def prepare(case: str) -> None:
    """Writes both."""
    import kzoo

    pretrained = kzoo.load("minilm-l6-v2")
    if case == "bert-base":
        pretrained = kzoo.fresh("bert-base-uncased", pretrained.tokenizer)
    task = kzoo.Classify(pretrained, labels=["negative", "positive"])
    directory = FOLDER / case / "model"
    task.save(directory)
    bundles.bundle({MODEL: kzoo.export(task, FOLDER / case / "export")}, FOLDER / case / "bundle")


class Peer:
    """A peer's server in a process of its own."""

    def __init__(self, name: str, directory: Path):
        self.name = name
        port = free_port()
        self.address = f"http://127.0.0.1:{port}"
        script = str(Path(__file__).with_name("serving_peers.py"))
        command = [sys.executable, script, name, str(directory), str(port)]
        print(f"starting {name}", file=sys.stderr, flush=True)
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while True:
            if self._process.poll() is not None:
                raise SystemExit(f"{name} ended: run {' '.join(command)} to see why")
            try:
                http.client.HTTPConnection("127.0.0.1", port).connect()
                break
            except OSError:
                time.sleep(0.1)
        self.pid = self._process.pid
        self.calls = [load.post(self.address, "/predict", json.dumps({"text": text}).encode()) for text in texts()]

    def stop(self) -> None:
        """Ends the process."""
        self._process.terminate()
        self._process.wait()


class Ours:
    """`kzoo serve` over the bundle, asked by one of its APIs."""

    def __init__(self, name: str, address: str, pid: int):
        self.name, self.address, self.pid = name, address, pid
        self.calls = [load.predict_call(address, MODEL, {"text": [text]}) for text in texts()]

    def stop(self) -> None:
        """Nothing: the server is ended with its last API."""


def texts() -> list[str]:
    """A thousand snippets in an order in which lengths are mixed."""
    return embedding.sentences("mixed")


def worked(pid: int) -> float:
    """Seconds that all threads of a process have worked."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def scores(server) -> np.ndarray | None:
    """What a server says of a few texts ``[N, C]``; None over gRPC, where it is the same server."""
    if server.address.startswith("grpc"):
        return None
    connection = http.client.HTTPConnection(urlsplit(server.address).netloc)
    found = []
    for call in server.calls[:32]:
        head, _, body = call.body.partition(b"\r\n\r\n")
        connection.request("POST", head.split()[1].decode(), body, {"Content-Type": "application/json"})
        reply = json.loads(connection.getresponse().read())
        found.append((reply["predictions"][0] if "predictions" in reply else reply)["scores"])
    connection.close()
    return np.array(found)


def measured(server, clients: int, seconds: float, first: int) -> tuple[load.Measured, float]:
    """A load on a server, and the core-seconds of a request; ``first``: where in the texts it begins."""
    calls = server.calls[first:] + server.calls[:first]
    before = worked(server.pid)
    result = load.put_load(server.address, calls, clients=clients, seconds=seconds)
    if result.failures:
        raise SystemExit(f"{server.name}: {len(result.failures)} failed, the first: {result.failures[0]}")
    return result, (worked(server.pid) - before) / len(result.latencies)


def compare(case: str, options: argparse.Namespace) -> list[dict]:
    """Rows of figures, one a server."""
    directory, bundle = prepared(case)
    rows: dict[str, dict] = {}
    servers: list = []
    first: dict[str, float] = {}
    ours = serve(bundle, rest_port=0, grpc_port=0, runner=options.runner, say=str)
    try:
        servers = [
            Ours("kzoo, REST", ours.rest_address, ours.pid),
            Ours("kzoo, gRPC", f"grpc://{ours.grpc_address}", ours.pid),
        ]
        first["kzoo, REST"] = load.put_load(ours.rest_address, servers[0].calls, count=1).milliseconds(50)
        for name, module in PEERS.items():
            if importlib.util.find_spec(module) and (not options.peers or name in options.peers):
                servers.append(Peer(name, directory))
                first[name] = load.put_load(servers[-1].address, servers[-1].calls, count=1).milliseconds(50)
        rows = {server.name: {"name": server.name, "rounds": {1: [], 32: []}} for server in servers}
        print(f"{case}: {len(servers)} servers stand ready", file=sys.stderr, flush=True)
        for server in servers:
            measured(server, 32, options.seconds, 0)
        said = {server.name: scores(server) for server in servers}
        for number in range(options.rounds):
            for clients in (1, 32):
                for server in servers:
                    result = measured(server, clients, options.seconds, 137 * number)
                    rows[server.name]["rounds"][clients].append(result)
    finally:
        for server in servers:
            server.stop()
        ours.stop()
    base = rows["kzoo, REST"]["rounds"]
    for name, row in rows.items():
        for clients, taken in row["rounds"].items():
            row[f"work {clients}"] = statistics.median(work for _, work in taken) * 1e3
            row[f"work ratio {clients}"] = statistics.median(
                work / mine for (_, mine), (_, work) in zip(base[clients], taken, strict=True)
            )
            taken = [one for one, _ in taken]
            pairs = list(zip([one for one, _ in base[clients]], taken, strict=True))
            row[f"rate {clients}"] = statistics.median(one.rate for one in taken)
            row[f"rate ratio {clients}"] = statistics.median(mine.rate / one.rate for mine, one in pairs)
            for percent in (50, 99):
                row[f"p{percent} {clients}"] = statistics.median(one.milliseconds(percent) for one in taken)
            row[f"p99 ratio {clients}"] = statistics.median(
                mine.milliseconds(99) / one.milliseconds(99) for mine, one in pairs
            )
        if said[name] is not None:
            row["unlike"] = int((np.abs(said[name] - said["kzoo, REST"]).max(axis=1) > 1e-3).sum())
        row["first"] = first[name] / row["p50 1"] if name in first else float("nan")
    return list(rows.values())


def show(case: str, rows: list[dict]) -> None:
    """Prints both tables."""
    for clients in (1, 32):
        columns = {
            f"{case}, {clients} client{'s' * (clients > 1)}": lambda row: row["name"],
            "requests a second": lambda row, n=clients: f"{row[f'rate {n}']:.1f}",
            "p50, ms": lambda row, n=clients: f"{row[f'p50 {n}']:.1f}",
            "p99, ms": lambda row, n=clients: f"{row[f'p99 {n}']:.1f}",
            "kzoo's requests over theirs": lambda row, n=clients: f"{row[f'rate ratio {n}']:.2f}",
            "kzoo's p99 over theirs": lambda row, n=clients: f"{row[f'p99 ratio {n}']:.2f}",
            "core-ms a request": lambda row, n=clients: f"{row[f'work {n}']:.1f}",
            "over kzoo's": lambda row, n=clients: f"{row[f'work ratio {n}']:.2f}",
        }
        if clients == 1:
            columns["first answer over p50"] = lambda row: f"{row['first']:.2f}"
            columns["of 32 answers unlike kzoo's"] = lambda row: str(row.get("unlike", ""))
        print(harness.table(rows, columns), "\n", flush=True)


def ceiling(seconds: float) -> None:
    """What the load generator reaches where there is nothing to compute."""
    server = Peer("nothing", FOLDER)
    try:
        for clients in (1, 32):
            result = load.put_load(server.address, server.calls, clients=clients, seconds=seconds)
            p99 = result.milliseconds(99)
            print(f"{clients} clients and no model: {result.rate:.0f} requests a second, p99 {p99:.1f} ms")
    finally:
        server.stop()


def main() -> None:
    """Compares servers in each case."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", choices=CASES, action="append", help="one case alone")
    parser.add_argument("--peers", nargs="*", help="these peers alone")
    parser.add_argument("--rounds", type=int, default=5, help="alternating rounds")
    parser.add_argument("--seconds", type=float, default=6, help="of each load")
    parser.add_argument("--runner", default="embedded", help="of kzoo serve")
    parser.add_argument("--ceiling", action="store_true", help="the load generator alone")
    options = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    packages = ["tensorflow", "keras-hub", "torch", "transformers", "onnxruntime", "fastapi", "uvicorn", "grpcio"]
    print(harness.machine(packages), "\n", flush=True)
    if options.ceiling:
        ceiling(options.seconds)
        return
    for case in options.case or CASES:
        show(case, compare(case, options))


if __name__ == "__main__":
    main()
