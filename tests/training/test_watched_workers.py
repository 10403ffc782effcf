"""Under several workers all is measured together, and one of them writes it."""

import numpy as np
import pytest

from tests.training import watched_workers
from tests.training.event_reading import points, tensors
from tests.training.workers import run_workers


@pytest.mark.slow
def test_two_workers_leave_what_one_device_does(tmp_path):
    codes, texts = run_workers("tests.training.watched_workers", tmp_path, "two")
    assert codes == [0, 0], "\n".join(text[-3000:] for text in texts)
    watched_workers.run(tmp_path / "one", strategy="one_device")
    one, two = tmp_path / "one" / "tensorboard", tmp_path / "two" / "tensorboard"
    for part in ("train", "validation"):
        assert points(two / part) == points(one / part)
        assert len(list((two / part).glob("events.*.v2"))) == 1
    for tag in ("precision_recall/good", "precision_recall/bad"):
        for step, expected in tensors(one / "validation", tag).items():
            np.testing.assert_array_equal(tensors(two / "validation", tag)[step], expected)
    for step, (_, _, image) in tensors(one / "validation", "confusion_matrix").items():
        assert tensors(two / "validation", "confusion_matrix")[step][2] == image
    assert {path.name for path in (two / "train").iterdir() if path.is_dir()} == {"plugins", "projector"}
