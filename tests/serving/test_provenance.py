"""What an export says of the run it came from."""

import json

import pytest
import yaml

import kzoo
from kzoo.errors import UserError
from kzoo.serving import saved_model
from kzoo.serving.export import export
from kzoo.serving.provenance import of_run
from tests import tiny


def test_a_run_is_known_by_its_config_its_metrics_and_its_examples(tmp_path):
    texts = tmp_path / "texts.tsv"
    texts.write_text("text\tlabel\n" + "a good film\tgood\nbad\tbad\n" * 8)
    task = kzoo.Classify(tiny.bert(num_layers=1), labels=["good", "bad"])
    examples = kzoo.data.read(texts)
    run = kzoo.fit(task, examples, examples, run_folder=tmp_path / "runs" / "films", epochs=1, batch_size=8)
    said = of_run(tmp_path / "runs" / "films")["run"]
    assert said["name"] == "films" and said["config"]["task"]["name"] == "classify"
    one = {"source": "texts.tsv", "rows": 16, "fingerprint": examples.fingerprint}
    assert said["metrics"]["data"] == {"train": one, "validation": one} == run.metrics["data"]
    assert said["metrics"]["validation"]["accuracy"] == run.metrics["validation"]["accuracy"]
    path = export(run.task, tmp_path / "model", warm_up=None, provenance=of_run(run.folder))
    written = json.loads((path / saved_model.EXTRA / saved_model.PROVENANCE).read_text(encoding="utf-8"))
    assert written["run"] == said and written["task"] == "classify"
    assert str(tmp_path) not in json.dumps(written)


def test_places_on_the_machine_stay_there(tmp_path):
    config = {"data": {"train": "/home/someone/films.csv", "label": {"names": ["/x/y/z"]}}, "output": "runs/films"}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    assert of_run(tmp_path)["run"]["config"] == {
        "data": {"train": "films.csv", "label": {"names": ["z"]}},
        "output": "runs/films",
    }


def test_a_folder_that_is_no_run_says_nothing_and_a_damaged_one_is_named(tmp_path):
    assert of_run(tmp_path) == of_run("minilm-l6-v2") == {}
    (tmp_path / "config.yaml").write_text("model: x")
    (tmp_path / "metrics.json").write_text("{")
    with pytest.raises(UserError, match="damaged"):
        of_run(tmp_path)
