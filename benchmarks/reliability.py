"""Whether the embedded server stays up: bad requests, long load, new versions under load, copies that are killed.

    python benchmarks/reliability.py bad-requests
    python benchmarks/reliability.py load --minutes 10
    python benchmarks/reliability.py promotion
    python benchmarks/reliability.py kills

Serves a classifier of all-MiniLM-L6-v2's size (its published weights under a fresh head) by `kzoo serve` and asks it
with movie-review snippets of all lengths. Ends with 1 where something went wrong.
"""

import argparse
import itertools
import os
import random
import shutil
import signal
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parent))

import bad_replies
import bad_requests
import embedding

from kzoo.serving import bundle as bundles
from kzoo.serving import client, load
from kzoo.serving.launch import serve

MODEL = "reviews"
FOLDER = Path(tempfile.gettempdir()) / "kzoo-benchmark-reliability"
LIMIT = 1 << 20


def saved_model() -> Path:
    """The SavedModel, made once."""
    path = FOLDER / "saved_model"
    if not path.exists():
        import kzoo

        kzoo.export(kzoo.Classify(kzoo.load("minilm-l6-v2"), labels=["negative", "positive"]), path)
    return path


def fresh_bundle(versions: int = 1) -> Path:
    """A bundle of its own for a run."""
    folder = Path(tempfile.mkdtemp(dir=FOLDER)) / "bundle"
    for _ in range(versions):
        bundles.bundle({MODEL: saved_model()}, folder)
    return folder


def resident(pid: int) -> int:
    """Megabytes of memory that a process holds."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) >> 10


def open_files(pid: int) -> int:
    """How many files and connections a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def host_port(address: str) -> tuple[str, int]:
    """Both of ``http://host:port`` or ``host:port``."""
    host, _, port = address.rpartition("/")[2].rpartition(":")
    return host, int(port)


def calls(address: str, *, label: str | None = None) -> list[load.Call]:
    """Single sentences of all lengths."""
    return [load.predict_call(address, MODEL, {"text": [text]}, label=label) for text in embedding.sentences("mixed")]


class Memory:
    """Looks at a process now and then.

    Attributes:
        seen: megabytes and open files, each time.
    """

    def __init__(self, pid: int, seconds: float):
        self._pid, self._seconds = pid, seconds
        self.seen: list[tuple[int, int]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def _look(self) -> None:
        while True:
            self.seen.append((resident(self._pid), open_files(self._pid)))
            if self._over.wait(self._seconds):
                return

    def stop(self) -> str:
        """Ends, and says what was seen."""
        self._over.set()
        self._thread.join()
        some = self.seen[:: max(1, len(self.seen) // 10)] + self.seen[-1:]
        return "memory, MB: " + " ".join(str(one) for one, _ in some) + f"; open files at the end {self.seen[-1][1]}"


def shown(measured: load.Measured) -> str:
    """A line of figures."""
    times = ", ".join(f"p{percent} {measured.milliseconds(percent):.0f}" for percent in (50, 95, 99, 99.9))
    longest = measured.latencies.max() * 1e3 if len(measured.latencies) else float("nan")
    return (
        f"{len(measured.latencies):,} answers in {measured.seconds:.0f} s ({measured.rate:.1f} a second), "
        f"{len(measured.failures)} failed; milliseconds: {times}, longest {longest:.0f}"
    )


def ask_badly(options: argparse.Namespace) -> list[str]:
    """Thousands of bad requests, and a good one after every fifty."""
    flags = [f"--max_request_bytes={LIMIT}", "--receive_timeout_in_ms=1000"]
    with serve(fresh_bundle(), rest_port=0, grpc_port=0, runner="embedded", further_flags=flags) as served:
        metadata = client.connect(served.rest_address).metadata(MODEL)
        good = bad_requests.good_requests(MODEL, metadata)
        places = host_port(served.rest_address), host_port(served.grpc_address)
        settings = {"good": good, "most_bytes": LIMIT}
        bad_replies.provoke(*places, count=500, seed=options.seed + 1, **settings)  # buffers are as large as they get
        before, files = resident(served.pid), open_files(served.pid)
        begin = time.perf_counter()
        seen: list[int] = []
        report = bad_replies.provoke(
            *places,
            count=options.count,
            seed=options.seed,
            watch=lambda _: seen.append(resident(served.pid)),
            **settings,
        )
        seconds = time.perf_counter() - begin
        time.sleep(2)  # until stalled connections are closed
        codes: dict[str, int] = {}
        for (_, code), number in report.replies.items():
            codes[code] = codes.get(code, 0) + number
        print(
            f"{report.asked:,} bad requests, {report.good} good ones between them, {seconds:.0f} s, seed {options.seed}"
        )
        print("replies: " + ", ".join(f"{code} {number}" for code, number in sorted(codes.items())))
        print(f"slowest reply {report.slowest:.2f} s; memory before {before} MB, after {resident(served.pid)} MB")
        print("memory on the way, MB: " + " ".join(map(str, seen[:: max(1, len(seen) // 10)])))
        print(f"open files before {files}, after {open_files(served.pid)}")
        for (kind, code), number in sorted(report.replies.items()):
            print(f"    {kind}: {code} {number}")
    return report.problems


def put_long_load(options: argparse.Namespace) -> list[str]:
    """As many requests as the machine takes, for minutes."""
    with serve(fresh_bundle(), rest_port=0, grpc_port=0, runner="embedded") as served:
        address = f"grpc://{served.grpc_address}" if options.grpc else served.rest_address
        requests = calls(address)
        load.put_load(address, requests, clients=options.clients, seconds=10)
        memory = Memory(served.pid, 10)
        try:
            measured = load.put_load(address, requests, clients=options.clients, seconds=60 * options.minutes)
        finally:
            seen = memory.stop()
        print(f"{options.clients} clients over {'gRPC' if options.grpc else 'REST'}: {shown(measured)}")
        print(seen)
    return measured.failures


def promote_under_load(options: argparse.Namespace) -> list[str]:
    """Promotions and rollbacks while clients ask the label without a pause."""
    from kzoo.serving.promotion import promote, rollback

    bundle = fresh_bundle(versions=2)
    promote(bundle, MODEL, 1, offline=True)
    with serve(bundle, rest_port=0, grpc_port=0, runner="embedded", config_poll_seconds=1) as served:
        requests = calls(served.rest_address, label="stable")
        is_over = threading.Event()
        results: list[load.Measured] = []
        memory = Memory(served.pid, 5)
        asking = threading.Thread(
            target=lambda: results.append(
                load.put_load(served.rest_address, requests, clients=options.clients, until=is_over.is_set)
            )
        )
        asking.start()
        times: list[float] = []
        try:
            end = time.monotonic() + 60 * options.minutes
            while time.monotonic() < end:
                for move, further in ((promote, (2,)), (rollback, ())):
                    begin = time.perf_counter()
                    move(bundle, MODEL, *further, servers=[served.rest_address])
                    times.append(time.perf_counter() - begin)
        finally:
            is_over.set()
            asking.join()
            seen = memory.stop()
        (measured,) = results
        print(f"{len(times)} moves of a label, each {statistics.median(times):.1f} s (longest {max(times):.1f})")
        print(f"{options.clients} clients: {shown(measured)}")
        print(seen)
    return measured.failures


def kill_copies(options: argparse.Namespace) -> list[str]:
    """`kill -9` at random moments while a version is copied in, and a start of the server after some of them."""
    bundle = fresh_bundle()
    chance = random.Random(options.seed)
    source = {
        path.relative_to(saved_model()): path.stat().st_size for path in saved_model().rglob("*") if path.is_file()
    }
    begin = time.perf_counter()
    bundles.bundle({MODEL: saved_model()}, bundle)
    whole = time.perf_counter() - begin
    problems, killed, came = [], 0, 0
    starts = 0
    for number in range(options.kills):
        before = bundles.versions(bundle, MODEL)
        child = os.fork()
        if child == 0:
            bundles.bundle({MODEL: saved_model()}, bundle)
            os._exit(0)
        time.sleep(chance.uniform(0, 1.3 * whole))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        killed += os.WIFSIGNALED(status)
        now = bundles.versions(bundle, MODEL)
        came += len(now) - len(before)
        for version in now:
            folder = bundle / bundles.MODELS / MODEL / str(version)
            lacking = [str(path) for path, size in source.items() if (folder / path).stat().st_size != size]
            if lacking:
                problems.append(f"kill {number}: version {version} is not whole: {lacking}")
        for version in now[:-2]:
            shutil.rmtree(bundle / bundles.MODELS / MODEL / str(version))  # or the disk would fill
        if number % max(1, options.kills // options.starts) == 0:
            starts += 1
            with serve(bundle, rest_port=0, grpc_port=0, runner="embedded", say=str) as served:
                asking = client.connect(served.rest_address)
                states = asking.status(MODEL)
                answer = asking.predict(MODEL, {"text": ["a fine film"]})
                if states != {now[-1]: "AVAILABLE"} or len(answer["label"]) != 1:
                    problems.append(f"kill {number}: {states}, {answer}")
    bundles.bundle({MODEL: saved_model()}, bundle)
    left = [path.name for path in (bundle / bundles.MODELS / MODEL).iterdir() if path.name.startswith(".")]
    print(f"a copy takes {whole:.2f} s; {killed} of {options.kills} copies were killed, {came} were whole before")
    print(f"{starts} starts of the server between them; left over after the next copy: {left or 'nothing'}")
    return problems + left


CASES = {"bad-requests": ask_badly, "load": put_long_load, "promotion": promote_under_load, "kills": kill_copies}


def main() -> None:
    """Runs one case."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("case", choices=CASES)
    parser.add_argument("--count", type=int, default=10_000, help="bad requests")
    parser.add_argument("--seed", type=int, default=0, help="of bad requests, and of the moments of kills")
    parser.add_argument("--minutes", type=float, default=10, help="of load")
    parser.add_argument("--clients", type=int, default=32, help="of load")
    parser.add_argument("--grpc", action="store_true", help="load over gRPC")
    parser.add_argument("--kills", type=int, default=200, help="copies that are killed")
    parser.add_argument("--starts", type=int, default=10, help="starts of the server between them")
    options = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    problems = CASES[options.case](options)
    for problem in itertools.islice(problems, 20):
        print(f"PROBLEM: {problem}")
    if problems:
        raise SystemExit(f"{len(problems)} problems.")


if __name__ == "__main__":
    main()
