"""Kubernetes manifests: they follow the schemas, fit one another and the bundle, and their probe tells the truth."""

import http.server
import json
import re
import subprocess
import threading

import pytest
import yaml

from kzoo.errors import UserError
from kzoo.serving import kubernetes, protos, saved_model
from kzoo.serving.bundle import bundle
from kzoo.serving.launch import server_flags
from tests.serving.test_promotion import small  # noqa: F401


@pytest.fixture
def path(tmp_path, small):  # noqa: F811
    made = bundle({"small": small, "other": small}, tmp_path / "Movie reviews")
    kubernetes.write(made)
    return made


def manifest(path, name):
    return yaml.safe_load((path / "kubernetes" / name).read_text())


@pytest.mark.parametrize("name", kubernetes.FILES)
def test_manifests_follow_the_schemas_of_kubernetes(path, name):
    validate = pytest.importorskip("kubernetes_validate")
    validate.validate(manifest(path, name), validate.latest_version(), strict=True)


def container(path, name="deployment.yaml"):
    pod = manifest(path, name)["spec"]["template"]["spec"]
    (one,) = pod["containers"]
    return one, pod


def test_they_fit_one_another(path):
    deployment, service = manifest(path, "deployment.yaml"), manifest(path, "service.yaml")
    budget, config = manifest(path, "disruption-budget.yaml"), manifest(path, "config-map.yaml")
    one, pod = container(path)
    labels = {"app": "movie-reviews"}
    assert deployment["spec"]["selector"]["matchLabels"] == deployment["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"] == budget["spec"]["selector"]["matchLabels"] == labels
    assert {port["targetPort"] for port in service["spec"]["ports"]} == {port["name"] for port in one["ports"]}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert {mount["name"] for mount in one["volumeMounts"]} == set(volumes)
    assert volumes["config"]["configMap"]["name"] == config["metadata"]["name"]
    assert volumes["bundle"]["persistentVolumeClaim"]["claimName"] == manifest(path, "volume.yaml")["metadata"]["name"]
    for probe in ("startupProbe", "readinessProbe"):
        assert one[probe]["exec"]["command"][1] == "/config/ready.sh"
    drain = int(one["lifecycle"]["preStop"]["exec"]["command"][1])
    assert drain < pod["terminationGracePeriodSeconds"] and pod["shareProcessNamespace"]


def test_the_autoscaler_keeps_what_the_budget_and_the_deployment_promise(path):
    deployment, scaler = manifest(path, "deployment.yaml"), manifest(path, "autoscaler.yaml")["spec"]
    target = scaler["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", deployment["metadata"]["name"])
    assert target["apiVersion"] == deployment["apiVersion"]
    assert scaler["minReplicas"] == deployment["spec"]["replicas"] < scaler["maxReplicas"]
    (measure,) = scaler["metrics"]
    one, _ = container(path)
    assert measure["resource"]["name"] in one["resources"]["requests"]  # a share is of what was requested


def test_the_server_is_started_as_kzoo_starts_it_with_the_bundles_own_configs(path):
    one, _ = container(path)
    flags = server_flags("/config", models_config="/bundle/models.config", rest_port=8501, grpc_port=8500)
    assert one["args"] == flags and one["command"] == ["tensorflow_model_server"]
    assert one["image"] == "tensorflow/serving:2.19.1"
    config = manifest(path, "config-map.yaml")["data"]
    assert config["batching.config"].strip() == (path / "batching.config").read_text().strip()
    assert protos.parse_text(config["monitoring.config"], protos.MonitoringConfig).prometheus_config.enable
    mounted = {mount["mountPath"] for mount in one["volumeMounts"]}
    for flag in flags:
        if "=/" in flag:
            assert f"/{flag.partition('=/')[2].partition('/')[0]}" in mounted


def test_the_gpu_variant_differs_in_what_a_gpu_needs(path):
    one, pod = container(path, kubernetes.GPU)
    plain, _ = container(path)
    assert one["image"] == "tensorflow/serving:2.19.1-gpu"
    assert one["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert pod["nodeSelector"] and pod["tolerations"][0]["key"] == "nvidia.com/gpu"
    assert one["args"] == [*plain["args"], "--per_process_gpu_memory_fraction=0.9"]
    assert "nvidia.com/gpu" not in plain["resources"]["limits"]


def test_compiled_signatures_bring_their_flag(tmp_path, small):  # noqa: F811
    file = small / saved_model.EXTRA / saved_model.DESCRIPTION
    description = json.loads(file.read_text())
    made = bundle({"small": small}, tmp_path / "bundle")
    assert "xla" not in (made / "compose.yaml").read_text()
    description["signatures"]["serving_default_xla"] = description["signatures"]["serving_default"]
    file.write_text(json.dumps(description))
    bundle({"small": small}, made)
    service = yaml.safe_load((made / "compose.yaml").read_text())["services"]["serving"]
    assert service["command"][-1] == "--xla_cpu_compilation_enabled=true"
    kubernetes.write(made)
    assert container(made)[0]["args"][-1] == "--xla_cpu_compilation_enabled=true"
    assert container(made, kubernetes.GPU)[0]["args"][-1] == "--xla_gpu_compilation_enabled=true"


def test_what_a_person_changed_stays_and_names_are_checked(path):
    (path / "kubernetes" / "service.yaml").write_text("mine")
    assert kubernetes.write(path) == []
    assert (path / "kubernetes" / "service.yaml").read_text() == "mine"
    assert len(kubernetes.write(path, name="films", overwrite=True)) == len(kubernetes.FILES)
    assert manifest(path, "service.yaml")["metadata"]["name"] == "films"
    with pytest.raises(UserError, match="lower-case letters, digits.*Received 'Films'"):
        kubernetes.write(path, name="Films")


@pytest.mark.parametrize(
    ("states", "code"),
    [
        ({"small": "AVAILABLE", "other": "AVAILABLE"}, 0),
        ({"small": "AVAILABLE", "other": "LOADING"}, 1),
        ({"small": "END"}, 1),
    ],
)
def test_the_probe_reads_the_state_and_not_the_status(path, tmp_path, states, code):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            state = states.get(self.path.rpartition("/")[2])
            self.send_response(200 if state else 404)
            self.end_headers()
            self.wfile.write(json.dumps({"model_version_status": [{"state": state}]}).encode())

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    script = manifest(path, "config-map.yaml")["data"]["ready.sh"]
    script = script.replace("/127.0.0.1/8501", f"/127.0.0.1/{server.server_port}")
    (tmp_path / "ready.sh").write_text(re.sub("/bundle/", f"'{path}'/", script))
    try:
        done = subprocess.run(["bash", tmp_path / "ready.sh"], timeout=60)
        assert done.returncode == code
    finally:
        server.shutdown()
        server.server_close()
    assert subprocess.run(["bash", tmp_path / "ready.sh"], timeout=60, capture_output=True).returncode == 1
