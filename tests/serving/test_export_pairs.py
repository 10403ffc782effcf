"""A model that was taught with a prompt template serves with it: the frame, the cut and the mask are in the graph."""

import tensorflow as tf

import kzoo
from kzoo.serving.export import export
from tests import tiny

PROMPTS = ["the film", "bad " * 30 + "é", ""]


def test_template_cut_and_prefix_are_in_the_graph(tmp_path):
    made = tiny.talkative(tiny.gpt2(num_layers=1))
    options = {"prompt_template": "Say of {prompt}\n- ", "prompt_cut": "end", "prefix_attention": True}
    task = kzoo.Generate(made, max_length=32, max_new_tokens=4, **options)
    expected = task.generate(PROMPTS)
    assert expected != kzoo.Generate(made, max_length=32, max_new_tokens=4).generate(PROMPTS)
    path = export(task, tmp_path / "export")
    loaded = tf.saved_model.load(str(path))
    answer = loaded.signatures["serving_default"](prompt=tf.constant(PROMPTS))
    assert [text.decode() for text in answer["text"].numpy()] == expected
