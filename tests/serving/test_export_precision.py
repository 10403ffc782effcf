"""Every task at half precision: finite, near what it was, and refused where its numbers overflow."""

import numpy as np
import pytest

import kzoo
from kzoo.errors import UserError
from kzoo.serving import export as exporting
from kzoo.serving import verification
from tests import tiny
from tests.serving.every_task import tasks


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_every_task_keeps_its_sense(precision):
    for name, task in tasks().items():
        other = exporting._at_precision(task, precision)
        dtypes = {weight.dtype for weight in other.backbone.weights}
        assert dtypes == {precision}, name
        signature = next(iter(other.signatures().values()))
        answers = other.serve(signature.tensors(verification.example(other, signature)))
        for key, value in answers.items():
            assert not value.dtype.is_floating or np.isfinite(value.numpy()).all(), (name, key)
        limit = 0.3 if precision == "bfloat16" else 0.05
        assert name == "answer" or verification.distance(task, other) < limit, name  # another span has other offsets


def test_a_model_whose_numbers_overflow_is_refused(tmp_path):
    task = kzoo.Embed(tiny.bert(num_layers=1), normalize=False)
    norm = task.backbone.blocks[-1].feed_forward_norm
    norm.scale.assign(norm.scale * 1e6)
    with pytest.raises(UserError, match="In float16 the model's numbers overflow"):
        kzoo.export(task, tmp_path / "model", precision="float16", warm_up=None)
    assert not list(tmp_path.iterdir())
