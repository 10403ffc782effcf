import json

import numpy as np
import pytest

from kzoo.errors import UserError
from kzoo.training.evaluate import evaluate
from kzoo.training.interrupt import Interrupted
from kzoo.training.run import fit
from tests.training.letter_tasks import LetterTask, words
from tests.training.letters_run import SignalAfter

SETTINGS = dict(
    epochs=4, batch_size=16, learning_rate=0.3, schedule="constant", validate_every=3, best="val_loss", ema=0.5
)  # at such a rate the validation goes up and down


def run(folder, task=None, **arguments):
    settings = dict(run_folder=folder, say=lambda text: None, logging={"progress": "none"})
    return fit(task or LetterTask(), words(), words(41, seed=1), **SETTINGS | settings | arguments)


def validations(folder):
    """Step to validation loss."""
    from tests.training.test_tensorboard import read

    return read(folder / "tensorboard" / "validation")[0]["loss"]


def test_the_result_may_be_the_best_of_the_averaged_weights(tmp_path):
    task = LetterTask()
    result = run(tmp_path, task, result="best")
    measured = validations(tmp_path)
    step = min(measured, key=measured.get)
    assert step < 40, "the last is the best: this test would show nothing"
    best = result.metrics["best"]
    assert (best["measure"], best["step"], best["epoch"]) == ("val_loss", step, -(-step // 10))
    assert best["value"] == pytest.approx(measured[step], rel=1e-6) and result.metrics["result"] == "best"
    assert result.metrics["validation"]["loss"] == best["value"]
    assert evaluate(task, words(41, seed=1))["loss"] == pytest.approx(best["value"], rel=1e-5)
    # and no more than what the checkpoints that are kept call best
    kept = [json.loads(path.read_text())["notes"]["best"]["step"] for path in tmp_path.glob("checkpoints/*/*.json")]
    assert len(kept) == 2 and {path.name for path in (tmp_path / "best").iterdir()} == {
        f"step-{one:08d}" for one in [*kept, step]
    }
    for entry in json.loads((tmp_path / "history.json").read_text()):
        until = {one: loss for one, loss in measured.items() if one <= entry["step"]}
        assert entry["best_step"] == min(until, key=until.get)


def test_the_last_weights_stay_the_result_and_a_stop_changes_nothing(tmp_path):
    straight = run(tmp_path / "straight", best="val_accuracy")
    with pytest.raises(Interrupted):
        run(tmp_path / "stopped", best="val_accuracy", callbacks=[SignalAfter("SIGINT", 17)])
    again = run(tmp_path / "stopped", best="val_accuracy")
    assert again.metrics["best"] == straight.metrics["best"] and straight.metrics["result"] == "last"
    assert straight.metrics["best"]["value"] == max(
        one["val_accuracy"] for one in [*straight.history, {"val_accuracy": straight.metrics["best"]["value"]}]
    )
    assert [one["best_step"] for one in again.history] == [one["best_step"] for one in straight.history]
    names = {path.name for path in (tmp_path / "straight" / "best").iterdir()}
    assert names == {path.name for path in (tmp_path / "stopped" / "best").iterdir()}
    stored = [np.load(tmp_path / name / "model" / "weights.npz") for name in ("straight", "stopped")]
    for name in stored[0].files:
        np.testing.assert_allclose(stored[1][name], stored[0][name], rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(best="val_acuracy"), "must be a measure of the validation: val_loss, val_accuracy. Received val_acuracy"),
        (dict(best=None, result="best"), "result: best needs the measure in best"),
        (dict(run_folder=None), "training.best keeps the best weights by the validation in the run's folder"),
    ],
)
def test_mistakes(tmp_path, arguments, message):
    with pytest.raises(UserError, match=message):
        run(tmp_path, **arguments)


def test_how_often_is_measured_may_change_unless_the_best_is_chosen_by_it(tmp_path):
    from kzoo.training.run_folder import RunFolder

    def config(**training):
        return {"training": {"epochs": 1, "best": None, "validate_every": None} | training}

    for name, best in (("free", None), ("bound", "val_loss")):
        folder = RunFolder(tmp_path / name)
        folder.claim(config(best=best))
        (tmp_path / name / "checkpoints" / "step-00000001").mkdir(parents=True)
    RunFolder(tmp_path / "free").claim(config(validate_every=5))
    with pytest.raises(UserError, match="training.validate_every: (None|null) -> 5"):
        RunFolder(tmp_path / "bound").claim(config(best="val_loss", validate_every=5))
