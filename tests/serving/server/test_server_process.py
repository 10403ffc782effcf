"""The server as a whole: starting, ports, reloading, draining, and as a process of its own."""

import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import grpc
import pytest

from kzoo.errors import UserError
from kzoo.serving import protos, stubs, tls
from kzoo.serving.client import connect
from kzoo.serving.server import Server, flags


@pytest.fixture
def base(tmp_path, save):
    """The base path of one small model."""
    save(tmp_path / "m" / "1", 10.0)
    return tmp_path / "m"


def _config(**bases):
    config = protos.ModelServerConfig()
    for name, path in bases.items():
        config.model_config_list.config.add(name=name, base_path=str(path), model_platform="tensorflow")
    return config


def _write(path, config):
    protos.write(path, config)
    return path


def _refusal(function, *arguments, **options):
    with pytest.raises(UserError) as caught:
        function(*arguments, **options)
    return str(caught.value)


def _until(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_taken_port_is_told_before_anything_is_loaded(tmp_path):
    (tmp_path / "m").mkdir()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for ports, name in (
            ({"rest_port": port, "grpc_port": None}, "rest_port"),
            ({"rest_port": None, "grpc_port": port}, "grpc_port"),
        ):
            message = _refusal(Server(_config(m=tmp_path / "m"), **ports).start)
            assert f"port {port}: address already in use" in message and f"another {name}" in message


def test_ports_are_two_and_at_least_one(tmp_path):
    (tmp_path / "m").mkdir()
    config = _config(m=tmp_path / "m")
    assert "Received neither" in _refusal(Server(config, rest_port=None, grpc_port=None).start)
    assert "Received 8500 for both" in _refusal(Server(config, rest_port=8500, grpc_port=8500).start)


def test_it_listens_on_loopback_only(base):
    with Server(_config(m=base), rest_port=0, grpc_port=0) as server:
        assert server.rest_address.startswith("http://127.0.0.1:")
        listening = server._rest.servers[0].sockets[0].getsockname()
        assert listening[0] == "127.0.0.1"
    with pytest.raises(RuntimeError, match="starts once"):
        server.start()


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"model_config": "/nosuch/models.config"}, "/nosuch/models.config cannot be read: No such file"),
        ({"model_config": protos.ModelServerConfig()}, "must list at least one model"),
        (
            {"batching": protos.BatchingParameters(allowed_batch_sizes=[4])},
            "must equal max_batch_size. Received 4 and 1000",
        ),
        ({"per_model_batching": True}, "per_model_batching needs batching"),
        ({"monitoring": "/nosuch/monitoring.config"}, "monitoring.config cannot be read"),
    ],
)
def test_settings_that_contradict_themselves_are_told_at_once(base, settings, message):
    assert message in _refusal(Server, **{"model_config": _config(m=base), **settings})


def test_a_model_that_cannot_be_loaded_ends_the_start_and_frees_the_ports(tmp_path):
    (tmp_path / "m" / "1").mkdir(parents=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    message = _refusal(Server(_config(m=tmp_path / "m"), rest_port=port, grpc_port=None).start)
    assert "{name: m version: 1} due to error: NOT_FOUND: Could not find SavedModel" in message
    with socket.socket() as free:
        free.bind(("127.0.0.1", port))
    assert "Could not find base path" in _refusal(Server(_config(m=tmp_path / "no"), rest_port=0, grpc_port=0).start)
    (tmp_path / "empty").mkdir()
    assert "no version folder under" in _refusal(Server(_config(m=tmp_path / "empty"), rest_port=0, grpc_port=0).start)


def test_labels_at_the_start_need_the_flag_and_the_message_says_so(base):
    config = _config(m=base)
    config.model_config_list.config[0].version_labels["stable"] = 1
    message = _refusal(Server(config, rest_port=0, grpc_port=0).start)
    assert "allow_version_labels_for_unavailable_models permits it" in message


def test_new_versions_are_served_and_reloads_replace_the_config(base, save, ask, tmp_path):
    body = {"instances": [1.0]}

    def answer(model):
        return ask(server, "POST", f"/v1/models/{model}:predict", body)

    with Server(_config(m=base), rest_port=0, grpc_port=0, poll_seconds=0.05) as server:
        save(base / "copying", 20.0)
        assert answer("m").json == {"predictions": [11.0]}
        (base / "copying").rename(base / "2")
        _until(lambda: answer("m").json == {"predictions": [21.0]})
        shutil.rmtree(base / "2")
        _until(lambda: answer("m").json == {"predictions": [11.0]})

        save(tmp_path / "n" / "1", 0.5)
        client = connect(f"grpc://{server.grpc_address}")
        client.reload(_config(n=tmp_path / "n"))
        assert answer("n").json == {"predictions": [1.5]} and answer("m").status == 404
        with pytest.raises(UserError, match=r"absolute path or URI; got base_path\(\)=relative \(INVALID_ARGUMENT\)"):
            client.reload(_config(o="relative"))
        (tmp_path / "o" / "3").mkdir(parents=True)
        with pytest.raises(UserError, match=r"1 model\(s\) did not become available"):
            client.reload(_config(n=tmp_path / "n", o=tmp_path / "o"))
        assert answer("n").json == {"predictions": [1.5]}
        assert client.status("o") == {3: "END"}
        request = stubs.load("model_management_pb2").ReloadConfigRequest()
        with grpc.insecure_channel(server.grpc_address) as channel, pytest.raises(grpc.RpcError) as caught:
            stubs.load("model_service_pb2_grpc").ModelServiceStub(channel).HandleReloadConfigRequest(request)
        assert "Only ModelConfigList is currently supported" in caught.value.details()
        assert "listed once" in _refusal(server.reload, _twice(base))
        server.reload(_config(m=base))
        assert answer("m").json == {"predictions": [11.0]}
        client.close()


def _twice(base):
    config = _config(m=base)
    config.model_config_list.config.add().CopyFrom(config.model_config_list.config[0])
    return config


def test_the_config_file_is_followed_and_a_broken_one_kept_out(base, save, ask, tmp_path, caplog):
    path = _write(tmp_path / "models.config", _config(m=base))
    with Server(path, rest_port=0, grpc_port=None, config_poll_seconds=0.05, poll_seconds=0) as server:
        path.write_text("model_config_list { config { name:")
        _until(lambda: "The old model config stays" in caplog.text)
        assert ask(server, "GET", "/v1/models/m").status == 200
        save(tmp_path / "n" / "1", 0.5)
        _write(path, _config(n=tmp_path / "n"))
        _until(lambda: ask(server, "GET", "/v1/models/n").status == 200)
        _until(lambda: ask(server, "POST", "/v1/models/m:predict", {"instances": [1.0]}).status == 404)


def test_stopping_lets_requests_finish_and_takes_no_more(models, ask):
    server = Server(_config(numbers=models / "numbers"), rest_port=0, grpc_port=0).start()
    sleep = {"signature_name": "sleep", "instances": [1.5]}
    answers = []
    rest = threading.Thread(
        target=lambda: answers.append(ask(server, "POST", "/v1/models/numbers:predict", sleep).status)
    )
    client = connect(f"grpc://{server.grpc_address}")
    by_grpc = threading.Thread(
        target=lambda: answers.append(list(client.predict("numbers", {"seconds": [1.5]}, signature="sleep")))
    )
    rest.start()
    by_grpc.start()
    servable = server.registry.find("numbers")
    _until(lambda: servable._in_flight == 2)
    server.stop()
    rest.join(30)
    by_grpc.join(30)
    assert sorted(answers, key=str) == [200, ["turns"]]
    assert server.wait(0)
    with pytest.raises(OSError):
        ask(server, "GET", "/v1/models/numbers")


def test_a_request_that_will_not_finish_does_not_hold_the_server(models, ask):
    server = Server(_config(numbers=models / "numbers"), rest_port=0, grpc_port=None, rest_timeout=2.0).start()

    def ask_for_long():
        try:
            ask(server, "POST", "/v1/models/numbers:predict", {"signature_name": "sleep", "instances": [60.0]})
        except OSError:
            pass

    asking = threading.Thread(target=ask_for_long)
    asking.start()
    servable = server.registry.find("numbers")
    _until(lambda: servable._in_flight == 1)
    server.stop(0.1)
    assert server.wait(0) and servable._in_flight == 1  # left to end by itself
    asking.join(30)
    _until(lambda: servable._in_flight == 0)


# Flags


def test_flags_are_those_of_the_genuine_server(base, tmp_path):
    config = _write(tmp_path / "models.config", _config(m=base))
    batching = _write(tmp_path / "batching.config", protos.BatchingParameters(num_batch_threads={"value": 3}))
    read = flags.parse([
        f"--model_config_file={config}", "--rest_api_port", "8601", "--port=8600", "--enable_batching",
        f"--batching_parameters_file={batching}", "--allow_version_labels_for_unavailable_models=true",
        "--rest_api_timeout_in_ms=1500", "--max_num_load_retries=2", "--file_system_poll_wait_seconds=7",
        "--model_config_file_poll_wait_seconds=10", "--enable_model_warmup=false", "--saved_model_tags=serve,gpu",
        "--xla_cpu_compilation_enabled", "--tensorflow_session_parallelism=2", "--flush_filesystem_caches=false",
    ])  # fmt: skip
    server = read.server()
    options = server.options
    assert server._wanted == {"REST": 8601, "gRPC": 8600} and server.host == "127.0.0.1"
    assert server._batching.threads == 3
    assert (options.rest_timeout, options.max_load_retries, options.poll_seconds) == (1.5, 2, 7.0)
    assert (options.config_poll_seconds, options.warm_up, options.tags) == (10.0, False, ("serve", "gpu"))
    assert options.xla and options.allow_version_labels_for_unavailable_models
    assert (options.intra_op_threads, options.inter_op_threads) == (2, 2)
    assert read.unheeded == ["flush_filesystem_caches"]


def test_the_genuine_defaults(base):
    server = flags.parse([f"--model_base_path={base}"]).server()
    assert server._wanted == {"REST": None, "gRPC": 8500} and server._batching is None
    assert server._config.model_config_list.config[0].name == "default"
    assert server.options.rest_timeout == 30.0 and not server.options.xla
    assert (
        flags.parse(["--rest_api_timeout_in_ms=0", f"--model_base_path={base}"]).server().options.rest_timeout is None
    )


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--nosuch=1"], "--nosuch is not a flag"),
        (["models.config"], "written --name=value. Received 'models.config'"),
        (["--port=many"], "--port must be a whole number. Received 'many'"),
        (["--enable_batching=perhaps"], "--enable_batching must be true or false. Received 'perhaps'"),
        (["--port"], "--port needs a value"),
        (["--use_alts_credentials"], "has no --use_alts_credentials"),
        ([], "needs --model_config_file or --model_base_path"),
        (["--batching_parameters_file=x"], "needs --enable_batching"),
    ],
)
def test_flags_that_cannot_be_read(arguments, message):
    assert message in _refusal(lambda: flags.parse(arguments).server())
    assert flags.parse(["--use_alts_credentials=false"]).unheeded == []


# A process of its own


def _start(arguments, environment):
    return subprocess.Popen(
        [sys.executable, "-m", "kzoo.serving.server", *arguments],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_mistakes_end_it_with_one_sentence(environment, tmp_path):
    ended = subprocess.run(
        [sys.executable, "-m", "kzoo.serving.server", f"--model_config_file={tmp_path}/no"],
        env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert ended.returncode == 2
    assert ended.stderr.strip() == f"{tmp_path}/no cannot be read: No such file or directory."
    usage = subprocess.run(
        [sys.executable, "-m", "kzoo.serving.server", "--help"],
        env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert usage.returncode == 0 and "--rest_api_port" in usage.stdout


def test_it_serves_and_sigterm_drains_and_ends_it(environment, models, text_model, tmp_path):
    config = _write(tmp_path / "models.config", _config(numbers=models / "numbers", text=text_model))
    with socket.socket() as first, socket.socket() as second:
        for free in (first, second):
            free.bind(("127.0.0.1", 0))
        rest_port, grpc_port = first.getsockname()[1], second.getsockname()[1]
    process = _start(
        [f"--model_config_file={config}", f"--rest_api_port={rest_port}", f"--port={grpc_port}"], environment
    )
    try:
        client = connect(f"http://127.0.0.1:{rest_port}")
        client.wait_until_available("numbers", timeout=120)
        assert client.predict("text", {"text": ["one", "two"]})["number"].tolist() == [1, -1]
        assert client.predict("numbers", {"seconds": [0.0]}, signature="sleep")["turns"].tolist() == [0]
        answers = []
        asking = threading.Thread(
            target=lambda: answers.append(client.predict("numbers", {"seconds": [1.5]}, signature="sleep"))
        )
        asking.start()
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        asking.join(60)
        assert answers and answers[0]["turns"].shape == (1,)
        assert process.wait(60) == 0
        log = process.stderr.read()
        assert "Ran 1 warm-up requests of {name: text version: 1}" in log and "Starting again" not in log
        assert "Stopping: running requests may finish" in log
    finally:
        process.kill()
        process.communicate()


def test_importing_the_server_loads_no_tensorflow(environment):
    code = (
        "import sys; import kzoo.serving.server; from kzoo.serving.server import flags\n"
        "flags.usage(); sys.exit('tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], env=environment, timeout=120).returncode == 0


def test_what_does_not_start_on_a_part_of_tensorflow_starts_on_all_of_it(monkeypatch, base):
    from kzoo.serving.server import __main__ as program

    started = []

    def fail():
        raise ImportError("moved")

    def execve(path, command, environment):
        started.append((command[1:], environment["KZOO_SERVER_LEAN"]))
        raise SystemExit(0)

    monkeypatch.setattr(program.runtime, "lean", fail)
    monkeypatch.setattr(program.os, "execve", execve)
    with pytest.raises(SystemExit):
        program._load_runtime(["--port=1"])
    assert started == [(["-m", "kzoo.serving.server", "--port=1"], "0")]
    monkeypatch.setenv("KZOO_SERVER_LEAN", "0")
    program._load_runtime([])


def test_both_apis_over_tls(base, tmp_path, certificate):
    tls.write(tmp_path / "ssl.config", tls.read(certificate.certificate, certificate.key))
    given = {"ssl": tmp_path / "ssl.config", "rest_tls": (certificate.certificate, certificate.key)}
    with Server(_config(m=base), rest_port=0, grpc_port=0, **given) as server:
        assert server.rest_address.startswith("https://")
        rest = server.rest_address.replace("127.0.0.1", "localhost")
        grpc_target = server.grpc_address.replace("127.0.0.1", "localhost")
        for address in (rest, f"grpcs://{grpc_target}", f"grpc://{grpc_target}"):
            client = connect(address, ca=certificate.certificate)
            assert client.predict("m", {"x": [1.0]})["y"].tolist() == [11.0]
            client.close()
        for address, message in (
            (rest, "do not agree on TLS: CERTIFICATE_VERIFY_FAILED"),  # signed by nobody that the system trusts
            (f"grpcs://{grpc_target}", "do not agree on TLS|did not answer|No server answers gRPC"),
            (rest.replace("https", "http"), "No server answers at"),
        ):
            client = connect(address, timeout=5)
            with pytest.raises(UserError, match=message):
                client.status("m")
            client.close()


@pytest.mark.parametrize("given", ["rest_certificate_file", "rest_key_file"])
def test_a_certificate_and_its_key_belong_together(base, given):
    read = flags.parse([f"--model_base_path={base}", f"--{given}=file.pem"])
    assert "belong together. Received one of them" in _refusal(read.server)
