"""Compiled signatures in a SavedModel: refused without the server's XLA flag, compiled before it serves with it."""

import json

import pytest

import kzoo
from kzoo.serving import audit, saved_model, warmup
from kzoo.serving.client import connect
from kzoo.serving.server.errors import StatusError
from kzoo.serving.server.loading import Loader
from kzoo.serving.server.metrics import Metrics
from kzoo.serving.server.options import Options
from kzoo.serving.server.servable import find_signature, predict
from kzoo.serving.server.warmup import arrays
from tests import tiny

NAMES = ["generate", "generate_tokens", "serving_default"]
PROMPTS = ["the film", "it was a bad", "a good film was not bad at all"]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    task = kzoo.Generate(tiny.talkative(tiny.gpt2(num_layers=1)), max_length=32, max_new_tokens=4)
    plan = warmup.Plan(batch_sizes=(1, 2), lengths=(8,))
    return kzoo.export(task, tmp_path_factory.mktemp("exports") / "generate", compiled=True, warm_up=plan)


def test_it_stands_beside_the_plain_signatures(path):
    signatures = saved_model.description(path)["signatures"]
    assert {f"{name}_xla" for name in NAMES} | set(NAMES) <= set(signatures)
    assert "stop" not in signatures["generate_xla"]["inputs"]
    assert audit.audit(path) == []


def asked(path):
    return [(one.model_spec.signature_name, one) for one in warmup.read(path / saved_model.EXTRA / saved_model.WARMUP)]


def test_without_the_flag_it_is_loaded_and_refused(path):
    assert not any(name.endswith("_xla") for name, _ in asked(path))
    servable = Loader(Options(xla=False), Metrics())("model", 1, str(path))
    more = list(warmup.read(path / saved_model.EXTRA / saved_model.WARMUP_COMPILED))
    assert {one.model_spec.signature_name for one in more} == {f"{name}_xla" for name in NAMES}
    with pytest.raises(StatusError, match="XLA compilation disabled"):
        predict(servable, find_signature(servable, "generate_xla"), arrays(more[0].inputs))
    servable.close()


def test_a_bundle_sets_the_flag_and_compiles_every_shape_before_it_serves(path, tmp_path, monkeypatch):
    made = kzoo.bundle({"writer": path}, tmp_path / "bundle")
    version = made / "models" / "writer" / "1"
    assert "--xla_cpu_compilation_enabled=true" in (made / "compose.yaml").read_text()
    rows = [one.inputs["prompt"].tensor_shape.dim[0].size for name, one in asked(version) if name == "generate_xla"]
    assert rows == [1, 8] and not (version / saved_model.EXTRA / saved_model.WARMUP_COMPILED).exists()
    dumped = tmp_path / "xla"
    monkeypatch.setenv("XLA_FLAGS", f"--xla_dump_to={dumped}")
    knobs = {"max_new_tokens": 4, "temperature": 1.0, "seed": 3}
    with kzoo.serve(made, rest_port=0, grpc_port=0, runner="embedded", say=lambda line: None) as served:
        programs = {one.name for one in dumped.glob("*before_optimizations.txt")}
        client = connect(served.rest_address)
        for prompts in (PROMPTS[:1], PROMPTS):
            for chosen in ({}, knobs):
                plain, by_xla = (
                    client.predict("writer", request(version, name, prompts, chosen), signature=name)
                    for name in ("generate", "generate_xla")
                )
                assert plain["text"].tolist() == by_xla["text"].tolist()
                assert plain["count"].tolist() == by_xla["count"].tolist()
            plain, by_xla = (
                client.predict("writer", {"prompt": prompts}, signature=name)["text"].tolist()
                for name in ("serving_default", "serving_default_xla")
            )
            assert plain == by_xla
        assert len(programs) == 2  # one a shape, though three signatures run it
        assert {one.name for one in dumped.glob("*before_optimizations.txt")} == programs


def request(version, signature, prompts, chosen):
    """Every input, which REST needs."""
    description = json.loads((version / saved_model.EXTRA / saved_model.DESCRIPTION).read_text())
    usual = {key: value[0] for key, value in description["signatures"][signature]["defaults"].items()}
    return {"prompt": prompts} | {key: [value] * len(prompts) for key, value in (usual | chosen).items()}
