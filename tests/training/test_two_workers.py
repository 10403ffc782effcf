"""MultiWorkerMirroredStrategy in two processes on this machine: the same losses and weights as on one device.

TensorFlow starts twice, so a test runs many cases of ``two_workers`` and then looks at all that came.
"""

import json

import numpy as np
import pytest

from kzoo.data.batching import Batches
from kzoo.training.cluster import VARIABLE
from tests.training import two_workers
from tests.training.letter_tasks import LetterTask, words
from tests.training.workers import run_workers


def assert_same(one, two):
    """The same losses, metrics, counts and weights on one device and on two workers."""
    assert (one["metrics"]["devices"], two["metrics"]["devices"]) == (1, 2)
    for name in ("steps", "examples", "tokens"):
        assert one["metrics"][name] == two["metrics"][name]
    for before, after in zip(one["history"], two["history"], strict=True):
        assert {name: after[name] for name in before if name != "input_wait"} == pytest.approx(
            {name: value for name, value in before.items() if name != "input_wait"}, abs=1e-5
        )
    for name, value in one["metrics"].get("validation", {}).items():
        assert two["metrics"]["validation"][name] == pytest.approx(value, abs=1e-5), name
    for path, after in zip(one["weights"], two["weights"].values(), strict=True):  # names count the models made before
        if not path.endswith("key/bias"):  # which has no effect: its gradient is rounding, made large by AdamW
            np.testing.assert_allclose(after, one["weights"][path], rtol=0, atol=1e-5, err_msg=path)


def results(folder, part, *, environments=({}, {})):
    """What came of a part in both workers."""
    codes, texts = run_workers("tests.training.two_workers", folder, part, environments=environments)
    assert codes == [0, 0], "\n".join(text[-3000:] for text in texts)
    return [json.loads(text.partition("RESULTS")[2]) for text in texts]


def check_cases(cases, first, second, monkeypatch):
    """Both workers came to the same bits, and those are what one device comes to."""
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr("kzoo.data.plan.BUCKETS", two_workers.BUCKETS)
    for case in cases:
        assert_same(two_workers.trained(case, strategy="one_device", jit=False), first[case])
        assert second[case]["weights"] == first[case]["weights"]
        assert [one["loss"] for one in second[case]["history"]] == [one["loss"] for one in first[case]["history"]]


def test_two_workers_learn_what_one_device_does(tmp_path, monkeypatch):
    first, second = results(tmp_path, "usual")
    check_cases(two_workers.USUAL, first, second, monkeypatch)
    assert first["described"].startswith("2 devices on 2 workers, here CPU:0 (TensorFlow 2.")
    assert first["gathered"] == second["gathered"] == [{"place": "ä" * 3}, {"place": "ä" * 53}]
    check_rows_of_their_own(first["own_rows"], second["own_rows"])
    check_mistakes(first, second)
    check_best(tmp_path, first["best"], second["best"])
    assert not (tmp_path / "not-shared").exists()


@pytest.mark.slow
def test_two_workers_compile_once_a_length_and_stop_together(tmp_path, monkeypatch):
    environments = [{"XLA_FLAGS": f"--xla_dump_to={tmp_path}/xla-{index}"} for index in (0, 1)]
    first, second = results(tmp_path, "more", environments=environments)
    check_cases(two_workers.MORE, first, second, monkeypatch)
    check_interruption(tmp_path, first["interrupted"], second["interrupted"])
    # lengths vary, yet the step is traced once, and compiled once a length
    lengths = Batches(LetterTask(), words(42), batch_size=8, training=True).plan().histogram
    assert len(lengths) == 3 and first["traces"] == second["traces"] == ["(4, None, 8)"]
    for index in (0, 1):
        compiled = list((tmp_path / f"xla-{index}").glob("*forward_and_backward*.before_optimizations.txt"))
        assert len(compiled) == len(lengths), sorted(path.name for path in (tmp_path / f"xla-{index}").iterdir())


def check_rows_of_their_own(one, two):
    """101 and 98 examples, four of each a step: both workers take 26 steps, and every example teaches once."""
    seen = [text for count, seed in ((101, 0), (98, 1)) for text in words(count, seed=seed)["text"] if len(text) > 1]
    assert one["metrics"]["steps"] == 26
    assert (one["metrics"]["examples"], one["metrics"]["tokens"]) == (len(seen), sum(map(len, seen)))
    assert one["metrics"]["validation"]["tokens"] == sum(
        len(text) - 1 for count in (9, 8) for text in words(count)["text"]
    )
    assert two["weights"] == one["weights"]


def check_best(folder, first, second):
    """Both workers end with the weights that one device calls best, which the chief keeps."""
    one = two_workers.best(folder / "best-of-one", strategy="one_device")
    assert_same(one, first)
    assert second["weights"] == first["weights"]
    step = one["metrics"]["best"]["step"]
    assert step < one["metrics"]["steps"], "the last is the best: this test would show nothing"
    for found in (first, second):
        assert found["metrics"]["best"]["step"] == step
        assert found["metrics"]["best"]["value"] == pytest.approx(one["metrics"]["best"]["value"], abs=1e-5)
    kept = [{path.name for path in (folder / name / "best").iterdir()} for name in ("best", "best-of-one")]
    assert kept[0] == kept[1] and f"step-{step:08d}" in kept[0]


def check_mistakes(first, second):
    """What is wrong in one worker is told in both, and none waits for the other in vain."""
    config = first["differing_config"]
    assert config.startswith("All workers must have the same config. What differs (worker 0 -> worker 1, 127.0.0.1:")
    assert "training.batch_size: 8 -> 16" in config and second["differing_config"] == config
    data = first["differing_data"]
    assert "train.examples: 20 -> 21" in data and second["differing_data"] == data
    assert "validation.fingerprint: " in first["differing_validation"] and "train." not in first["differing_validation"]
    assert first["not_divisible"].endswith("Received batch_size=7 for 2 devices.")
    assert "not-shared is not the folder that worker 0" in first["not_shared"]
    assert first["not_shared"].startswith("Worker 1 (127.0.0.1:") and "Worker 1 (" not in second["not_shared"]
    assert first["failing_alone"].endswith("All columns must be of equal length. Received text 1, label 2.")
    assert first["failing_alone"].endswith(second["failing_alone"])


def check_interruption(folder, first, second):
    """SIGTERM came to worker 1 after step 7; both stopped after step 8 and went on to the bits of a straight run."""
    (straight, stopped, resumed), others = first["ends"], second["ends"]
    assert stopped[1] == others[1][1] == 143
    assert stopped[0].startswith("Stopped by SIGTERM after epoch 2, step 2 (8 in all). Saved ")
    assert resumed == straight == others[0] == others[2]
    assert first["said"][-1] == "Going on from epoch 2, step 2 (8 of 12 steps)." and second["said"] == []
    for name in ("straight", "stopped"):  # the chief's files, once, and nothing left over
        names = {path.name for path in (folder / name).iterdir()}
        assert names == {"config.yaml", "checkpoints", "tensorboard", "history.json", "metrics.json", "model"}
        assert len(list((folder / name / "checkpoints").iterdir())) == 2
    assert len(list((folder / "straight" / "tensorboard" / "train").glob("*.v2"))) == 1
