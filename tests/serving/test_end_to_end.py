"""Export, bundle, serve, ask: by REST and gRPC, with the README's own lines and the example clients."""

import json
import re
import shutil
import subprocess
import sys
import time
import urllib.request

import numpy as np
import pytest
import yaml

from kzoo.serving import client, saved_model
from kzoo.serving.bundle import bundle
from kzoo.serving.launch import serve
from kzoo.serving.promotion import promote

TEXTS = ["A good film.", "bad", "", 'naïve "café" \\ 👩‍👩‍👧', "the film was not good at all " * 20]


@pytest.fixture(scope="module")
def served(tmp_path_factory, classify, generate):
    path = bundle({"reviews": classify.path, "story": generate.path}, tmp_path_factory.mktemp("served") / "bundle")
    promote(path, "story", 1, offline=True)
    with serve(path, rest_port=0, grpc_port=0, runner="embedded", say=str) as running:
        running.bundle = path
        yield running


def fences(readme: str) -> list[tuple[str, str]]:
    return re.findall(r"```(\w+)\n(.*?)\n```", readme, flags=re.DOTALL)


def run(command, **options):
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def assert_alike(got, wanted):
    """Equal, numbers to five digits."""
    if isinstance(wanted, dict):
        assert set(got) == set(wanted)
        for key, value in wanted.items():
            assert_alike(got[key], value)
    elif isinstance(wanted, list):
        assert len(got) == len(wanted)
        for one, other in zip(got, wanted, strict=True):
            assert_alike(one, other)
    elif isinstance(wanted, float):
        assert got == pytest.approx(wanted, rel=1e-5, abs=1e-5)
    else:
        assert got == wanted


@pytest.mark.skipif(not shutil.which("curl"), reason="there is no curl here")
def test_the_lines_of_the_readme_give_the_answers_of_the_readme(served):
    blocks = fences((served.bundle / "README.md").read_text())
    asked = 0
    for (_, command), (language, answer) in zip(blocks, blocks[1:], strict=False):
        if command.startswith("curl") and language == "text":
            replies = run(["bash", "-c", command.replace("http://127.0.0.1:8501", served.rest_address)])
            assert_alike(json.loads(replies), json.loads(answer))
            asked += 1
    examples = [saved_model.description(served.bundle / "models" / name / "1")["examples"] for name in served.models]
    assert asked == sum(map(len, examples)) >= 4
    status = run(["bash", "-c", f"curl -s {served.rest_address}/v1/models/reviews"])
    assert '"AVAILABLE"' in status


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_the_client_gets_what_the_task_answers(served, classify, generate, scheme):
    address = served.rest_address if scheme == "http" else f"grpc://{served.grpc_address}"
    asking = client.connect(address)
    answer = asking.predict("reviews", {"text": TEXTS})
    expected = classify.task.predict(TEXTS)
    assert answer["label"].tolist() == [one["label"] for one in expected]
    np.testing.assert_allclose(answer["scores"], [one["scores"] for one in expected], atol=1e-5)
    assert asking.predict("story", {"prompt": TEXTS})["text"].tolist() == [
        one["text"] for one in generate.task.predict(TEXTS)
    ]
    # requests with other settings may share a batch with these
    described = saved_model.description(served.bundle / "models" / "story" / "1")["signatures"]["generate"]["defaults"]
    knobs = {"max_new_tokens": [3], "temperature": [0.7], "top_k": [5], "top_p": [0.9], "seed": [11]}
    assert knobs.keys() <= described.keys()
    every = described | knobs
    sampled = asking.predict(
        "story", {"prompt": TEXTS} | {name: value * 5 for name, value in every.items()}, signature="generate"
    )
    wanted = generate.task.generate(TEXTS, **{name: value[0] for name, value in knobs.items()})
    assert sampled["text"].tolist() == wanted


def test_the_example_clients_ask(served, classify, generate):
    clients = served.bundle / "clients"
    labels = [one["label"] for one in classify.task.predict(TEXTS)]
    rest = run([sys.executable, clients / "ask_rest.py", "reviews", *TEXTS, "--address", served.rest_address])
    grpc = run([sys.executable, clients / "ask_grpc.py", "reviews", *TEXTS, "--address", served.grpc_address])
    assert [json.loads(line)["label"] for line in rest.splitlines()] == labels
    assert [json.loads(line)["label"] for line in grpc.splitlines()] == labels
    shell = run([clients / "ask.sh", "reviews", TEXTS[3], served.rest_address])
    assert json.loads(shell)["predictions"][0]["label"] == labels[3]

    # a label chooses a version, by every client; one that is not there is told in the server's words
    for client_file, address in (("ask_rest.py", served.rest_address), ("ask_grpc.py", served.grpc_address)):
        command = [sys.executable, clients / client_file, "story", "the", "--address", address, "--label"]
        assert json.loads(run([*command, "stable"])) in (
            {"text": generate.task.predict("the")[0]["text"]},
            story(generate),
        )
        refused = subprocess.run([*command, "missing"], capture_output=True, text=True)
        assert refused.returncode == 1 and "Unrecognized servable version label: missing" in refused.stderr
    shell = run([clients / "ask.sh", "story/labels/stable", "the", served.rest_address])
    assert json.loads(shell)["predictions"] == [story(generate)]

    # over gRPC what has a default may be left out, over REST nothing
    knobs = ["--signature", "generate", "--set", "temperature=0.8", "--set", "seed=3"]
    told = run([sys.executable, clients / "ask_grpc.py", "story", "the", "--address", served.grpc_address, *knobs])
    wanted = generate.task.generate("the", temperature=0.8, seed=3)
    assert json.loads(told)["text"] == wanted[0]
    refused = subprocess.run(
        [sys.executable, clients / "ask_rest.py", "story", "the", "--address", served.rest_address, *knobs],
        capture_output=True,
        text=True,
    )
    assert refused.returncode == 1 and "Over REST every input must be set" in refused.stderr


@pytest.mark.parametrize(("program", "file"), [(["node"], "ask.mjs"), (["go", "run"], "ask.go")])
def test_the_clients_in_other_languages_ask(served, classify, generate, program, file):
    if not shutil.which(program[0]):
        pytest.skip(f"there is no {program[0]} here")
    command = [*program, served.bundle / "clients" / file, "--address", served.rest_address]
    told = run([*command, "reviews", *TEXTS])
    assert [json.loads(line)["label"] for line in told.splitlines()] == [
        one["label"] for one in classify.task.predict(TEXTS)
    ]
    knobs = ["--signature", "generate", "--set", "temperature=0.8", "--set", "seed=3", "--label", "stable"]
    told = run([*command, *knobs, "story", "the"])  # what has a default is filled in
    assert json.loads(told)["text"] == generate.task.generate("the", temperature=0.8, seed=3)[0]
    for wrong, message in (
        (["--label", "missing", "story", "the"], "Unrecognized servable version label: missing"),
        (["--signature", "nosuch", "story", "the"], "here is no signature nosuch; there are"),
        (["story"], "sage"),
    ):
        refused = subprocess.run([*command, *wrong], capture_output=True, text=True)
        assert refused.returncode == 1 and message in refused.stderr


def story(generate):
    """The generator's answer as REST words a single output."""
    return generate.task.predict("the")[0]["text"]


def test_prometheus_finds_its_metrics(served):
    with urllib.request.urlopen(f"{served.rest_address}/monitoring/prometheus/metrics") as reply:
        page = reply.read().decode()
    assert re.search(r"^:tensorflow:serving:request_count\{.*model_name=.reviews.*\} [1-9]", page, flags=re.MULTILINE)


def test_the_health_check_of_the_compose_file_tells(served, tmp_path):
    compose = yaml.safe_load((served.bundle / "compose.yaml").read_text())
    script = compose["services"]["serving"]["healthcheck"]["test"][3].replace("$$", "$")
    port = served.rest_address.rpartition(":")[2]
    here = script.replace("/127.0.0.1/8501", f"/127.0.0.1/{port}")
    healthy = here.replace("/bundle/models.config", str(served.bundle / "models.config"))
    assert subprocess.run(["bash", "-c", healthy], timeout=60).returncode == 0
    (tmp_path / "models.config").write_text('    name: "nobody"\n')
    missing = here.replace("/bundle/models.config", str(tmp_path / "models.config"))
    assert subprocess.run(["bash", "-c", missing], timeout=60).returncode == 1


def test_a_new_version_is_taken_up_while_it_serves(served, classify):
    bundle({"reviews": classify.path}, served.bundle)
    asking = client.connect(served.rest_address)
    deadline = time.monotonic() + 60
    while asking.status("reviews").get(2) != "AVAILABLE" and time.monotonic() < deadline:
        asking.predict("reviews", {"text": ["good"]})  # never refused meanwhile
    assert asking.status("reviews")[2] == "AVAILABLE"
    assert asking.predict("reviews", {"text": ["good"]}, version=2)["label"].tolist()
