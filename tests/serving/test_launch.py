"""Starting a server over a bundle: which one, with which arguments, and that nothing of it is left behind."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from kzoo.errors import UserError
from kzoo.serving import launch, process, protos
from kzoo.serving.launch import serve

CHECKOUT = Path(__file__).resolve().parents[2]

# Stands for the real server and for Docker: notes how it was called, answers status requests, ends on SIGTERM.
FAKE = """#!{python}
import http.server, json, os, signal, sys
arguments = sys.argv[1:]
notes = {notes!r}
with open(notes, "w") as file:
    json.dump({{"arguments": arguments, "pid": os.getpid()}}, file)
behaviour = os.environ.get("FAKE_SERVER", "")
if behaviour == "fails":
    sys.exit("E external/server.cc: Invalid protobuf file")

def end(*_):
    open(notes + ".ended", "w").close()
    os._exit(0)

signal.signal(signal.SIGTERM, end if behaviour != "stubborn" else signal.SIG_IGN)
ports = [one for one in arguments if "rest_api_port=" in one or one.startswith("--publish=") and one.endswith(":8501")]
port = int(ports[0].partition("=")[2].removesuffix(":8501").rpartition(":")[2])
state = {{"version": "1", "state": "AVAILABLE", "status": {{"error_code": "OK", "error_message": ""}}}}
if behaviour == "broken model":
    state |= {{"state": "END", "status": {{"error_code": "INTERNAL", "error_message": "weights are gone"}}}}
if behaviour == "slow":
    state["state"] = "LOADING"

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({{"model_version_status": [state]}}).encode())
    def log_message(self, *_):
        pass

http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


@pytest.fixture
def bundle(tmp_path):
    """A bundle's configs; no server here loads its models."""
    folder = tmp_path / "bundle"
    (folder / "models").mkdir(parents=True)
    config = protos.ModelServerConfig()
    for name in ("reviews", "story"):
        config.model_config_list.config.add(name=name, base_path=f"/models/{name}", model_platform="tensorflow")
    protos.write(folder / "models.config", config)
    for name in ("batching.config", "monitoring.config", "compose.yaml"):
        (folder / name).write_text((CHECKOUT / "serving" / "bundle" / name).read_text().replace("$image", "server:1.2"))
    return folder


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Puts the fake on PATH under a name; returns where it notes its arguments."""

    def put(name):
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        notes = tmp_path / f"{name}.json"
        (folder / name).write_text(FAKE.format(python=sys.executable, notes=str(notes)))
        (folder / name).chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}/usr/bin{os.pathsep}/bin")
        return notes

    return put


def started(notes: Path) -> dict:
    return json.loads(notes.read_text())


def ended(notes: Path) -> bool:
    return Path(f"{notes}.ended").exists()


def flag(arguments: list[str], name: str) -> str:
    (value,) = [one.partition("=")[2] for one in arguments if one.startswith(f"--{name}=")]
    return value


def test_the_real_server_is_taken_when_it_is_installed(bundle, install):
    notes, said = install("tensorflow_model_server"), []
    before = (bundle / "models.config").read_text()
    with serve(bundle, rest_port=0, grpc_port=0, say=said.append) as served:
        assert served.runner == "tensorflow_model_server" and served.models == ["reviews", "story"]
        arguments = started(notes)["arguments"]
        assert served.rest_address.endswith(f":{flag(arguments, 'rest_api_port')}")
        assert served.grpc_address == f"127.0.0.1:{flag(arguments, 'port')}"
        assert flag(arguments, "batching_parameters_file") == f"{bundle}/batching.config"
        assert flag(arguments, "monitoring_config_file") == f"{bundle}/monitoring.config"
        assert "--enable_batching=true" in arguments and "--max_num_load_retries=0" in arguments
        resolved = Path(flag(arguments, "model_config_file"))
        models = protos.read(resolved, protos.ModelServerConfig).model_config_list.config
        assert [one.base_path for one in models] == [f"{bundle}/models/reviews", f"{bundle}/models/story"]
    assert (bundle / "models.config").read_text() == before
    assert ended(notes) and not resolved.parent.exists()
    line, warning = said
    assert "every interface" in warning
    assert line.startswith("TensorFlow Serving (") and "serves reviews, story" in line and served.rest_address in line


def test_the_resolved_copy_follows_the_bundle(bundle, install):
    notes = install("tensorflow_model_server")
    with serve(bundle, rest_port=0, grpc_port=0, say=str):
        resolved = Path(flag(started(notes)["arguments"], "model_config_file"))
        whole = (bundle / "models.config").read_text()
        (bundle / "models.config").write_text("broken {")
        time.sleep(1.5)
        assert "story" in resolved.read_text()  # the last good one stays
        protos.write(
            bundle / "models.config",
            protos.parse_text(whole.replace("story", "poem"), protos.ModelServerConfig),
        )
        deadline = time.monotonic() + 10
        while "poem" not in resolved.read_text() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert f'"{bundle}/models/poem"' in resolved.read_text()


def test_docker_runs_the_image_of_the_compose_file(bundle, install):
    notes, said = install("docker"), []
    with serve(bundle, runner="docker", rest_port=0, grpc_port=0, say=said.append) as served:
        rest, grpc = (address.rpartition(":")[2] for address in (served.rest_address, served.grpc_address))
        arguments = started(notes)["arguments"]
    assert arguments[:3] == ["run", "--rm", "--init"]
    assert arguments[4:9] == [
        f"--publish=127.0.0.1:{rest}:8501",
        f"--publish=127.0.0.1:{grpc}:8500",
        f"--volume={bundle}/models:/models:ro",
        f"--volume={bundle}:/bundle:ro",
        "--entrypoint=tensorflow_model_server",
    ]
    image, *flags = arguments[9:]
    assert image == "server:1.2"
    assert flags == launch.server_flags(
        "/bundle", models_config="/bundle/models.config", rest_port=8501, grpc_port=8500
    )
    assert ended(notes) and said[0].startswith("TensorFlow Serving in Docker serves")


def test_without_the_real_server_kzoos_own_is_taken(bundle, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    calls = []

    def start(command, **options):
        calls.append(command)
        raise UserError("enough")

    monkeypatch.setattr(launch, "ServerProcess", start)
    said = []
    with pytest.raises(UserError, match="enough"):
        serve(bundle, rest_port=0, grpc_port=0, say=said.append)
    assert calls[0][1:4] == ["-m", "kzoo.serving.server", "--host=127.0.0.1"]
    assert said[0].startswith("kzoo's embedded server serves")


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        ("fails", "(?s)has ended. Exit code 1; its last lines:.*Invalid protobuf file"),
        ("broken model", "could not load reviews: weights are gone"),
        ("slow", "has not loaded reviews, story within 1 seconds"),
    ],
)
def test_a_server_that_does_not_come_up_is_ended_and_says_why(bundle, install, monkeypatch, behaviour, message):
    notes = install("tensorflow_model_server")
    monkeypatch.setenv("FAKE_SERVER", behaviour)
    with pytest.raises(UserError, match=message):
        serve(bundle, rest_port=0, grpc_port=0, say=str, timeout=1 if behaviour == "slow" else 60)
    assert ended(notes) or behaviour == "fails"
    with pytest.raises(ProcessLookupError):
        os.kill(started(notes)["pid"], 0)


def test_a_server_that_will_not_end_is_killed(bundle, install, monkeypatch):
    notes = install("tensorflow_model_server")
    monkeypatch.setenv("FAKE_SERVER", "stubborn")
    monkeypatch.setattr(process, "GRACE", 0.2)
    with serve(bundle, rest_port=0, grpc_port=0, say=str):
        pass
    with pytest.raises(ProcessLookupError):
        os.kill(started(notes)["pid"], 0)


def test_a_server_that_ends_by_itself_is_reported(bundle, install):
    notes = install("tensorflow_model_server")
    with serve(bundle, rest_port=0, grpc_port=0, say=str) as served:
        os.kill(started(notes)["pid"], signal.SIGKILL)
        with pytest.raises(UserError, match="The server \\(tensorflow_model_server\\) has ended. Exit code -9"):
            served.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("behaviour", ["", "slow"])  # while it serves, and while it still loads
def test_a_signal_ends_both_in_order(bundle, install, tmp_path, number, behaviour):
    notes = install("tensorflow_model_server")
    code = f"""
from kzoo.serving.launch import serve
with serve({str(bundle)!r}, rest_port=0, grpc_port=0) as served:
    print("ready", flush=True)
    served.wait()
print("ended in order", flush=True)
"""
    child = subprocess.Popen(
        [sys.executable, "-u", "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=CHECKOUT,
        env={**os.environ, "FAKE_SERVER": behaviour, "TMPDIR": str(tmp_path)},
        # a shell's background job, as CI may be, ignores SIGINT, and what it starts inherits that
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert "serves reviews" in child.stdout.readline()
    assert "every interface" in child.stdout.readline()
    if behaviour:
        while not notes.exists() or not notes.read_text():
            time.sleep(0.05)
        time.sleep(0.3)  # until the fake heeds signals
    else:
        assert child.stdout.readline() == "ready\n"
        time.sleep(0.3)  # until it waits
    child.send_signal(number)
    output, errors = child.communicate(timeout=20)
    assert ended(notes)
    assert not list(tmp_path.glob("kzoo-serve-*"))
    if not behaviour:
        assert child.returncode == 0 and "ended in order" in output, errors


@pytest.mark.parametrize("behaviour", ["", "stubborn"])
def test_a_killed_kzoo_takes_its_server_along(bundle, install, tmp_path, behaviour):
    notes = install("tensorflow_model_server")
    code = (
        "import sys, threading, time; from kzoo.serving.launch import serve\n"
        "serving = threading.Thread(target=lambda: serve(sys.argv[1], rest_port=0, grpc_port=0, say=str))\n"
        "serving.start(); serving.join()\n"  # the thread that started the server ends, and the server goes on
        "print('ready', flush=True); time.sleep(600)"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(bundle)],
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "FAKE_SERVER": behaviour, "TMPDIR": str(tmp_path)},
    )
    assert child.stdout.readline() == "ready\n"
    server = started(notes)["pid"]
    os.kill(server, 0)  # it runs
    child.kill()
    child.communicate(timeout=20)
    deadline = time.monotonic() + 40
    while is_running(server) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not is_running(server)
    assert ended(notes) == (behaviour != "stubborn")


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def taken() -> socket.socket:
    one = socket.socket()
    one.bind(("127.0.0.1", 0))
    one.listen()
    return one


@pytest.mark.parametrize(("which", "option"), [("rest_port", "--rest-port"), ("grpc_port", "--grpc-port")])
def test_a_taken_port_is_named_with_the_remedy(bundle, install, which, option):
    notes = install("tensorflow_model_server")
    with contextlib.closing(taken()) as one:
        port = one.getsockname()[1]
        ports = {"rest_port": 0, "grpc_port": 0, which: port}
        with pytest.raises(UserError, match=f"Port {port} of 127.0.0.1 .* cannot be had: .*in use.*{option}"):
            serve(bundle, say=str, **ports)
    assert not notes.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rest_port": 9000, "grpc_port": 9000}, "REST and gRPC need a port each. Received 9000 for both"),
        ({"rest_port": 70000}, "A port lies between 1 and 65535.*Received 70000"),
        ({"rest_port": 0, "grpc_port": 0, "host": "no.such.host.invalid"}, "is not an address of this machine"),
        ({"runner": "podman"}, "runner must be one of auto, tensorflow_model_server, docker, embedded"),
        ({"runner": "docker"}, "docker is not on PATH"),
        (
            {"runner": "tensorflow_model_server"},
            "tensorflow_model_server is not on PATH. Install it, or take kzoo's own",
        ),
    ],
)
def test_what_cannot_be_is_refused(bundle, monkeypatch, tmp_path, arguments, message):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=message):
        serve(bundle, say=str, **arguments)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: None, "There is no bundle at .*: it does not exist"),
        (lambda folder: folder.mkdir(), "is not a bundle: it has no models.config"),
    ],
)
def test_what_is_no_bundle_is_refused(tmp_path, make, message):
    make(tmp_path / "folder")
    with pytest.raises(UserError, match=message):
        serve(tmp_path / "folder")


def test_the_address_can_be_asked(bundle, install):
    install("tensorflow_model_server")
    with serve(bundle, rest_port=0, grpc_port=0, say=str) as served:
        with urllib.request.urlopen(f"{served.rest_address}/v1/models/reviews") as reply:
            assert json.load(reply)["model_version_status"][0]["state"] == "AVAILABLE"
