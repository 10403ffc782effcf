"""Compiled signatures in a SavedModel: refused without the server's XLA flag, compiled before it serves with it."""

import json
import shutil
from multiprocessing import get_context

import numpy as np
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

TEXTS = ["the film", "it was a bad", "a good film was not bad at all"]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    plan = warmup.Plan(batch_sizes=(1, 2), lengths=(8,))
    target = tmp_path_factory.mktemp("exports") / "embed"
    return kzoo.export(kzoo.Embed(tiny.bert(num_layers=1)), target, compiled=True, warm_up=plan)


def asked(path):
    return list(warmup.read(path / saved_model.EXTRA / saved_model.WARMUP))


def test_without_the_flag_it_is_loaded_and_refused(path):
    assert audit.audit(path) == []
    assert {one.model_spec.signature_name for one in asked(path)} == {"serving_default"}
    servable = Loader(Options(xla=False), Metrics())("model", 1, str(path))
    more = list(warmup.read(path / saved_model.EXTRA / saved_model.WARMUP_COMPILED))
    assert [one.inputs["text"].tensor_shape.dim[0].size for one in more] == [1, 8, 32]
    with pytest.raises(StatusError, match="XLA compilation disabled"):
        predict(servable, find_signature(servable, "serving_default_xla"), arrays(more[0].inputs))
    servable.close()


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """The programs that a server has compiled by now."""
    monkeypatch.setenv("XLA_FLAGS", f"--xla_dump_to={tmp_path}/xla")
    return lambda: {one.name for one in (tmp_path / "xla").glob("*before_optimizations.txt")}


def served(bundle):
    return kzoo.serve(bundle, rest_port=0, grpc_port=0, runner="embedded", say=lambda line: None)


def test_a_bundle_sets_the_flag_and_compiles_every_shape_before_it_serves(path, tmp_path, programs):
    made = kzoo.bundle({"vectors": path}, tmp_path / "bundle")
    version = made / "models" / "vectors" / "1"
    assert "--xla_cpu_compilation_enabled=true" in (made / "compose.yaml").read_text()
    assert {one.model_spec.signature_name for one in asked(version)} == {"serving_default", "serving_default_xla"}
    assert not (version / saved_model.EXTRA / saved_model.WARMUP_COMPILED).exists()
    with served(made) as server:
        compiled = programs()
        client = connect(server.rest_address)
        for texts in (TEXTS[:1], TEXTS, TEXTS * 4):
            plain, by_xla = (
                client.predict("vectors", {"text": texts}, signature=name)["embedding"]
                for name in ("serving_default", "serving_default_xla")
            )
            np.testing.assert_allclose(plain, by_xla, atol=1e-5)
        assert len(compiled) == 2 and programs() == compiled  # the server's batches have 1 or 2 rows by this plan


@pytest.mark.slow
def test_three_signatures_that_write_share_their_programs(tmp_path, programs):
    with get_context("spawn").Pool(1) as elsewhere:  # what the export's check compiles here the server would find
        path = elsewhere.apply(export_writer, [tmp_path / "generate"])
    made = kzoo.bundle({"writer": path}, tmp_path / "bundle")
    version = made / "models" / "writer" / "1"
    shutil.rmtree(tmp_path / "xla")
    with served(made) as server:
        compiled = programs()
        client = connect(server.rest_address)
        for prompts in (TEXTS[:1], TEXTS):
            for chosen in ({}, {"max_new_tokens": 3, "temperature": 1.0, "seed": 3}):
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
        assert len(compiled) == 2  # one a shape
        assert programs() == compiled


def export_writer(target):
    task = kzoo.Generate(tiny.talkative(tiny.gpt2(num_layers=1)), max_length=32, max_new_tokens=4)
    return kzoo.export(task, target, compiled=True, warm_up=warmup.Plan(batch_sizes=(1, 8), lengths=(8,)))


def request(version, signature, prompts, chosen):
    """Every input, which REST needs."""
    description = json.loads((version / saved_model.EXTRA / saved_model.DESCRIPTION).read_text())
    usual = {key: value[0] for key, value in description["signatures"][signature]["defaults"].items()}
    return {"prompt": prompts} | {key: [value] * len(prompts) for key, value in (usual | chosen).items()}
