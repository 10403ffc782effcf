"""SmolLM2-135M-Instruct from its GGUF file, against `transformers` fed with what kzoo saves."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import kzoo
from kzoo.checkpoints.engine import export_tensors
from kzoo.tokenizers import chat_template
from tests import reference, tiny
from tests.checkpoints.gguf_writing import GPT2, gpt2_tensors, gpt2_vocabulary, write

pytestmark = pytest.mark.parity

TEXTS = [
    "The capital of France is",
    "def add(a, b):\n    return",
    "In 1969, 2 men   walked on the moon.\n\nÜber 😀 東京 1234",
]
QUESTION = [{"role": "user", "content": "What is the capital of France?"}]


@pytest.fixture(scope="module")
def smollm2(smollm2_directory):
    return kzoo.load(smollm2_directory)


@pytest.fixture(scope="module")
def theirs(smollm2, tmp_path_factory):
    library = reference.transformers()
    directory = tmp_path_factory.mktemp("smollm2")
    kzoo.Generate(smollm2).save(directory)
    return reference.load(directory, "LlamaForCausalLM"), library.AutoTokenizer.from_pretrained(directory)


def test_paris(smollm2):
    task = kzoo.Generate(smollm2, max_length=64, max_new_tokens=8)
    assert "Paris" in task.generate("The capital of France is")[0]


def test_the_tokens_of_the_reference(smollm2, theirs):
    _, tokenizer = theirs
    texts = [*TEXTS, "<|im_start|>user\nHi<|im_end|>", "\x04 control \x00", " \n \t ", "日本語テキスト", "naïve café"]
    expected = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    assert smollm2.tokenizer.tokenize(texts).ids.to_list() == expected
    assert tokenizer.bos_token == "<|im_start|>" and tokenizer.eos_token == tokenizer.pad_token == "<|im_end|>"


def test_the_logits_of_the_reference(smollm2, theirs):
    model, _ = theirs
    ids = smollm2.tokenizer.tokenize(TEXTS).ids
    features = {"token_ids": ids.to_tensor(0).numpy(), "padding_mask": (ids.to_tensor(-1) >= 0).numpy()}
    expected = reference.ask(model, features)["logits"]
    logits = smollm2.backbone.logits(smollm2.backbone(features)["sequence_output"]).numpy()
    mask = features["padding_mask"]
    np.testing.assert_allclose(logits[mask], expected[mask], atol=2e-3, rtol=1e-4)
    np.testing.assert_array_equal(logits[mask].argmax(-1), expected[mask].argmax(-1))


@pytest.mark.slow
def test_greedy_text_token_for_token(smollm2, theirs):
    import torch

    model, tokenizer = theirs
    task = kzoo.Generate(smollm2, max_length=96, max_new_tokens=24)
    for text in TEXTS[:2]:
        ids = torch.tensor([tokenizer(text, add_special_tokens=False)["input_ids"]])
        new = model.generate(ids, max_new_tokens=24, do_sample=False)[0, ids.shape[1] :].tolist()
        assert task.generate(text)[0] == tokenizer.decode(new, skip_special_tokens=True)


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"length_penalty": 0.0}, {"repetition_penalty": 1.3}])
def test_beams_token_for_token(smollm2, theirs, settings):
    import torch

    model, tokenizer = theirs
    task = kzoo.Generate(smollm2, max_length=64, max_new_tokens=16, num_beams=3)
    for text in TEXTS[:2]:
        ids = torch.tensor([tokenizer(text, add_special_tokens=False)["input_ids"]])
        with torch.no_grad():
            found = model.generate(ids, max_new_tokens=16, do_sample=False, num_beams=3, **settings)
        new = found[0, ids.shape[1] :].tolist()
        assert task.search(text, **settings)[0] == tokenizer.decode(new, skip_special_tokens=True)


@pytest.mark.slow
def test_the_chat_template_is_followed(smollm2, theirs):
    import torch

    model, tokenizer = theirs
    template = chat_template.read(smollm2.tokenizer.files)
    for messages in (
        QUESTION,
        [{"role": "system", "content": "Answer in French."}, *QUESTION],
        [*QUESTION, {"role": "assistant", "content": "Paris."}, {"role": "user", "content": "And of Spain?"}],
    ):
        for prompts in (True, False):
            expected = tokenizer.apply_chat_template(messages, add_generation_prompt=prompts, tokenize=False)
            assert template.render(messages, add_generation_prompt=prompts) == expected
    task = kzoo.Generate(smollm2, chat=True, max_length=128, max_new_tokens=24)
    ids = tokenizer.apply_chat_template(QUESTION, add_generation_prompt=True, return_dict=False)
    text = QUESTION[0]["content"]
    assert task.tokenize({"prompt": np.array([text])})["token_ids"].to_list() == [ids]
    new = model.generate(torch.tensor([ids]), max_new_tokens=24, do_sample=False)[0, len(ids) :].tolist()
    answer = task.generate(text)[0]
    assert answer == tokenizer.decode(new, skip_special_tokens=True) and "Paris" in answer


MEMORY = """
import math
import sys
from pathlib import Path
import kzoo

def status(key):
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(key))

kzoo.load(sys.argv[1])  # what the first load of all takes is not the model's
Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
before = status("VmRSS")
weights = kzoo.load(sys.argv[2]).backbone.weights
sizes = [4 * math.prod(weight.shape) for weight in weights]  # float32; reading a value would copy it
print(status("VmHWM") - before, sum(sizes), max(sizes))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read from Linux's /proc")
@pytest.mark.slow
def test_a_load_takes_little_more_than_the_weights(tmp_path, smollm2_directory):
    """At most 1.3 times the weights' bytes and one tensor, vocabulary included."""
    made = tiny.gpt2()
    tensors = gpt2_tensors(dict(export_tensors(made.backbone, made.family.RULES, num_blocks=2)))
    small = write(tmp_path / "small.gguf", "gpt2", GPT2 | gpt2_vocabulary(), tensors)
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, small, smollm2_directory], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    peak, size, largest = map(int, done.stdout.split())
    assert size > 500e6
    assert peak <= 1.3 * size + largest, f"{peak / 1e6:.0f} MB for {size / 1e6:.0f} MB of weights"
