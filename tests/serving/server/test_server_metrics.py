"""The page that Prometheus reads."""

import re

import pytest

from kzoo.serving import protos
from kzoo.serving.server import Server
from kzoo.serving.server.metrics import Metrics


def test_counters_and_histograms_in_the_genuine_form():
    metrics = Metrics()
    metrics.request("a", "OK")
    metrics.request("a", "OK")
    metrics.request('we"ird\n', "NOT_FOUND")
    for seconds in (5e-6, 10e-6, 11e-6, 9e9):
        metrics.request_latency("a", "predict", "REST", seconds)
    lines = metrics.page().decode().splitlines()
    assert lines[:3] == [
        "# TYPE :tensorflow:serving:request_count counter",
        ':tensorflow:serving:request_count{model_name="a",status="OK"} 2',
        ':tensorflow:serving:request_count{model_name="we\\"ird\\n",status="NOT_FOUND"} 1',
    ]
    prefix = ':tensorflow:serving:request_latency_bucket{model_name="a",API="predict",entrypoint="REST",le='
    assert lines[3] == "# TYPE :tensorflow:serving:request_latency histogram"
    assert lines[4:6] == [f'{prefix}"10"}} 1', f'{prefix}"18"}} 3']  # a limit itself counts above, as in TensorFlow
    assert [line for line in lines if line.startswith(prefix)][-2:] == [
        f'{prefix}"1.47476e+09"}} 3', f'{prefix}"+Inf"}} 4'
    ]  # fmt: skip
    assert ':tensorflow:serving:request_latency_count{model_name="a",API="predict",entrypoint="REST"} 4' in lines
    names = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert names == sorted(set(names))


def test_prometheus_can_read_it():
    parser = pytest.importorskip("prometheus_client.parser")
    metrics = Metrics()
    metrics.request("a", "OK")
    metrics.runtime_latency("a", "Predict", 0.001)
    metrics.batch(8, 3)
    metrics.queuing_latency("", 0.001)
    families = {family.name: family for family in parser.text_string_to_metric_families(metrics.page().decode())}
    samples = families[":tensorflow:serving:runtime_latency"].samples
    assert [sample.value for sample in samples if sample.name.endswith("_sum")] == [1000.0]


def test_requests_are_counted_by_model_and_outcome(server, rest, grpc_stubs):
    from kzoo.serving.tensors import strings

    def count(text):
        found = re.findall(
            re.escape(text) + r" (\d+)$", rest("GET", "/monitoring/prometheus/metrics").body.decode(), re.M
        )
        return int(found[0]) if found else 0

    good = ':tensorflow:serving:request_count{model_name="words",status="OK"}'
    bad = ':tensorflow:serving:request_count{model_name="nosuch",status="NOT_FOUND"}'
    grpc_latency = ':tensorflow:serving:request_latency_count{model_name="words",API="Predict",entrypoint="GRPC"}'
    before = [count(text) for text in (good, bad, grpc_latency)]
    rest("POST", "/v1/models/words:predict", {"instances": ["a"]})
    grpc_stubs.predict("words", text=strings(["a"]))
    rest("POST", "/v1/models/nosuch:predict", {"instances": ["a"]})
    after = [count(text) for text in (good, bad, grpc_latency)]
    assert [now - then for now, then in zip(after, before, strict=True)] == [2, 1, 1]
    page = rest("GET", "/monitoring/prometheus/metrics")
    assert page.headers["Content-Type"] == "text/plain"
    assert b":tensorflow:cc:saved_model:load_attempt_count" in page.body


def test_the_page_is_where_the_config_says_or_nowhere(models, ask):
    monitoring = protos.parse_text('prometheus_config { enable: true path: "/numbers" }', protos.MonitoringConfig)
    config = protos.ModelServerConfig()
    config.model_config_list.config.add(name="numbers", base_path=str(models / "numbers"), model_platform="tensorflow")
    with Server(config, rest_port=0, grpc_port=None, monitoring=monitoring) as server:
        assert ask(server, "GET", "/numbers").status == 200
        assert ask(server, "GET", "/monitoring/prometheus/metrics").status == 404
    with Server(config, rest_port=0, grpc_port=None) as server:
        assert ask(server, "GET", "/monitoring/prometheus/metrics").status == 404


def test_names_from_requests_can_be_anything_but_not_without_end(rest):
    assert rest("POST", "/v1/models/%ff%fe:predict", {"instances": ["a"]}).status == 404
    assert b'model_name="??"' in rest("GET", "/monitoring/prometheus/metrics").body
    metrics = Metrics()
    for number in range(10_050):
        metrics.request(f"model {number}", "NOT_FOUND")
    metrics.request("model 0", "NOT_FOUND")
    assert metrics.page().count(b"NOT_FOUND") == 10_000 and b'"model 0",status="NOT_FOUND"} 2' in metrics.page()
