"""A sweep: what it plans, what it runs, and what it does when a run fails or is stopped. Runs are stood in for."""

import json

import pytest

from kzoo.errors import UserError
from kzoo.training.config_file import read_config
from kzoo.training.interrupt import Interrupted
from kzoo.training.run_folder import RunFolder
from kzoo.training.sweep import Trial, grid, plan, ranked, sweep

CONFIG = """
model: {name: minilm-l6-v2}
task: {name: classify, options: {class_weights: {good: 2}}}
data: {train: reviews.csv}
training: {epochs: 1}
output: runs/reviews
"""
GRID = ["training.learning_rate=1e-5,5e-5", "training.batch_size=16,32"]


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(CONFIG)
    return path


def ran(files, *, codes=None, loss=None):
    """Stands in for ``kzoo train``: leaves what a run leaves."""

    def run(file):
        files.append(file.name)
        code = (codes or {}).get(file.name.removesuffix(".yaml"), 0)
        config = read_config(file)
        folder = RunFolder(config.output)
        folder.claim(config.model_dump(mode="json"))
        if code == 0:
            folder.model.mkdir()
            value = loss or config.training.learning_rate * config.training.batch_size
            folder.write_metrics({"validation": {"loss": value, "accuracy": 1 - value}, "train": {}, "seconds": 2.0})
        return code

    return run


def test_each_value_with_each_and_folders_that_say_which(config):
    folder, planned = plan(config, GRID, ["training.warmup=0.2"], output="sweeps/a")
    assert str(folder) == "sweeps/a"
    assert [trial.name for trial, _ in planned] == [
        "learning_rate=1e-05,batch_size=16", "learning_rate=1e-05,batch_size=32",
        "learning_rate=5e-05,batch_size=16", "learning_rate=5e-05,batch_size=32",
    ]  # fmt: skip
    last = planned[-1][1]
    assert (last.training.learning_rate, last.training.batch_size, last.training.warmup) == (5e-5, 32, 0.2)
    assert last.output == "sweeps/a/learning_rate=5e-05,batch_size=32"
    assert str(plan(config, GRID)[0]) == "runs/reviews-sweep"


def test_values_are_yaml_and_brackets_hold_their_commas():
    values = grid(["training.freeze=[],[a,b]", "task.options={dropout: 0.1, pair: true},{}", "model.name='x,y',z,null"])
    assert values == {
        "training.freeze": [[], ["a", "b"]],
        "task.options": [{"dropout": 0.1, "pair": True}, {}],
        "model.name": ["x,y", "z", None],
    }


def test_names_that_would_be_the_same_get_numbers(config):
    _, planned = plan(config, ["model.name=a/tiny,b/tiny"])
    assert [trial.name for trial, _ in planned] == ["001,name=tiny", "002,name=tiny"]
    assert all(config.output == trial.folder for trial, config in planned)
    long = ",".join(f"'{'x' * 150}{number}'" for number in range(2))
    _, planned = plan(config, [f"model.name={long}"])
    assert all(len(trial.name) <= 100 for trial, _ in planned) and planned[0][0].name != planned[1][0].name


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "at least one --grid"),
        (["training.learning_rate"], "--grid is written key=a,b,c"),
        (["training.learning_rate=1e-5,1e-5"], "a value of training.learning_rate twice"),
        (["training.seed=1", "training.seed=2"], "gives training.seed twice"),
        (["training.learning_rat=1e-5,1"], "unknown key training.learning_rat; did you mean training.learning_rate"),
        (["training.batch_size=16,many"], "training.batch_size: input should be a valid integer"),
        (["output=a,b"], "output is not of that kind"),
        ([f"training.seed={','.join(map(str, range(1001)))}"], "1001 runs, which is more than 1000"),
    ],
)
def test_mistakes_are_found_before_anything_starts(config, given, message):
    with pytest.raises(UserError, match=message):
        plan(config, given)


def test_a_failed_run_is_told_and_a_second_call_does_what_is_left(config, tmp_path):
    folder, planned = plan(config, GRID, output=str(tmp_path / "all"))
    files, said = [], []
    broken = planned[1][0].name
    trials = sweep(folder, planned, run=ran(files, codes={broken: 2}), say=said.append)
    assert [trial.state for trial in trials] == ["done", "done", "done", "failed"]
    assert trials[0].values == {"training.learning_rate": 1e-5, "training.batch_size": 16}
    assert trials[-1].name == broken and trials[-1].message == "exit code 2"
    assert any("failed with exit code 2; the others go on" in line for line in said)
    assert len(files) == 4 and files[0] == f"{planned[0][0].name}.yaml"
    written = json.loads((folder / "sweep.json").read_text())
    assert [one["name"] for one in written["runs"]] == [trial.name for trial in trials]
    assert written["runs"][0]["metrics"]["val_accuracy"] == pytest.approx(1 - 1.6e-4)
    files.clear()
    again = sweep(
        folder, plan(config, GRID, output=str(folder))[1], metric="val_accuracy", run=ran(files), say=said.append
    )
    assert files == [f"{broken}.yaml"] and {trial.state for trial in again} == {"done"}
    assert again[0].name == trials[0].name  # the greatest accuracy, which is of the least loss


def test_an_interrupted_sweep_stops_and_says_how_to_go_on(config, tmp_path):
    folder, planned = plan(config, GRID, output=str(tmp_path / "all"))
    files = []
    with pytest.raises(Interrupted, match="The same command goes on from there") as raised:
        sweep(folder, planned, run=ran(files, codes={planned[1][0].name: 130}), say=lambda text: None)
    assert raised.value.exit_code == 130 and len(files) == 2
    states = {one["name"]: one["state"] for one in json.loads((folder / "sweep.json").read_text())["runs"]}
    assert list(states.values()).count("waits") == 2 and states[planned[1][0].name] == "interrupted"


def test_a_folder_of_another_sweep_or_config_is_refused(config, tmp_path):
    place = str(tmp_path / "all")
    folder, planned = plan(config, GRID, output=place)
    sweep(folder, planned, run=ran([]), say=lambda text: None)
    with pytest.raises(UserError, match="holds a sweep of other values"):
        sweep(*plan(config, ["training.seed=1,2"], output=place), run=ran([]), say=lambda text: None)
    with pytest.raises(UserError, match="training.epochs: 1 -> 2"):
        sweep(*plan(config, GRID, ["training.epochs=2"], output=place), run=ran([]), say=lambda text: None)


def test_runs_without_the_metric_stand_last():
    found = [("a", {}), ("b", {"val_loss": 2.0}), ("c", {"val_loss": float("nan")}), ("d", {"val_loss": 1.0})]
    trials = [Trial(name=name, values={}, folder=name, metrics=metrics) for name, metrics in found]
    assert [trial.name for trial in ranked(trials, "val_loss")] == ["d", "b", "a", "c"]
