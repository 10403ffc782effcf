"""Greedy decoding on a CPU: kzoo's SavedModel plain and compiled, KerasHub's ``generate``, PyTorch's ``generate``.

    python benchmarks/decoding.py

Needs the extra ``parity``. Sizes: ``gpt2``, GPT-2 small's with random weights, and ``smollm2``, SmolLM2-135M with its
own (``kzoo pull smollm2-135m-instruct``); one prompt of 32 tokens or eight, 96 new tokens, the reading of the prompt
counted in. Each peer runs as its users run it, and at its best: KerasHub's ``generate`` by default and compiled by XLA;
that of transformers under ``inference_mode``, with its usual cache and with a static one. kzoo is asked through
``generate_tokens`` and ``generate_tokens_xla`` of what ``kzoo.export`` wrote, text in and text out. All have the same
weights, and none stops before its 96th token; beside them stands how many tokens are kzoo's, up to the first other one.

``weights, read`` is the floor: all cores multiply as many numbers as a token needs weights with themselves and add them
up, once a token, which takes the time of reading them.
"""

import importlib.util
import json
import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parent))

import harness
import numpy as np

CASES = ["gpt2-1", "gpt2-8", "smollm2-1", "smollm2-8"]
PROMPT, NEW = 32, 96
FOLDER = Path(tempfile.gettempdir()) / "kzoo-benchmark-decoding"


SMALL = dict(hidden_dim=768, num_layers=12, num_heads=12, vocabulary_size=50257)
NEUTRAL = dict(max_new_tokens=NEW, min_new_tokens=NEW, temperature=0, top_k=0, top_p=1, min_p=0, repetition_penalty=1)
NEUTRAL |= dict(presence_penalty=0, frequency_penalty=0, stop="", blocked_words="", logit_bias="", seed=0)
WORDS = "the of and to in that was his he with as her had for not at on be by it is you this but she all".split()


def split(case: str) -> tuple[str, int]:
    """The model and the rows."""
    name, _, rows = case.partition("-")
    return name, int(rows)


def directory(name: str) -> Path:
    """A Hugging Face directory with the weights, made once."""
    import keras

    import kzoo
    from kzoo.data import pull

    path = FOLDER / name
    if not path.exists():
        keras.utils.set_random_seed(1)
        if name == "smollm2":
            pretrained = kzoo.load("smollm2-135m-instruct")
        else:
            pretrained = kzoo.fresh("gpt2", kzoo.tokenizers.load(pull("gpt2-tokenizer")), num_positions=1024, **SMALL)
        kzoo.Generate(pretrained, max_length=1024, max_new_tokens=NEW).save(path)
    return path


def export(name: str) -> Path:
    """The SavedModel, with compiled signatures, made once."""
    import kzoo

    path = FOLDER / f"{name}-saved-model"
    if not path.exists():
        kzoo.export(kzoo.load_task(directory(name)), path, compiled=True, warm_up=None)
    return path


def prompts(case: str) -> tuple[list[str], np.ndarray]:
    """Texts and their ids ``[B, 32]``: common words, each a token of both vocabularies."""
    path = FOLDER / f"{case}-prompts.json"
    if not path.exists():
        import kzoo

        name, rows = split(case)
        draw = np.random.default_rng(0)
        texts = [" ".join(draw.choice(WORDS, PROMPT)) for _ in range(rows)]
        ids = kzoo.tokenizers.load(directory(name)).tokenize(texts).ids.to_list()
        path.write_text(json.dumps([texts, ids]))
    texts, ids = json.loads(path.read_text())
    return texts, np.array(ids, "int32").reshape(-1, PROMPT)


def checked(case: str, run):
    """Times the worker, and reports how many tokens of its rows ``[B, 96]`` are kzoo's up to the first that is not."""
    reference = FOLDER / f"{case}.npy"

    def timed():
        ids = np.asarray(run())[:, :NEW]
        if ids.shape[1] != NEW:
            raise ValueError(f"{ids.shape[1]} tokens")
        if not reference.exists():  # kzoo is asked first
            np.save(reference, ids)
        same = ids == np.load(reference)
        return {"agreeing": int(np.cumprod(same, axis=1).sum()), "tokens": same.size}

    return timed


def kzoo_saved_model(signature: str):
    """The SavedModel that `kzoo export --compiled` writes, asked by one of its signatures."""

    def setup(case: str):
        import tensorflow as tf
        import tensorflow_text  # noqa: F401  its operations

        name, rows = split(case)
        loaded = tf.saved_model.load(str(export(name)))  # whose tokenizer lives as long as it does
        answer = loaded.signatures[signature]
        texts, _ = prompts(case)
        inputs = {key: spec for key, spec in answer.structured_input_signature[1].items() if key != "prompt"}
        knobs = {key: tf.fill([rows], tf.constant(NEUTRAL[key], spec.dtype)) for key, spec in inputs.items()}

        def run():
            assert loaded.signatures
            return answer(prompt=tf.constant(texts), **knobs)["token_ids"].numpy()

        return checked(case, run)

    return setup


def keras_hub(jit_compile):
    """KerasHub's causal language model, greedy, asked with ids."""

    def setup(case: str):
        import keras_hub as hub

        name, rows = split(case)
        kind = hub.models.GPT2CausalLM if name == "gpt2" else hub.models.LlamaCausalLM
        backbone = kind.backbone_cls.from_preset(str(directory(name)))
        model = kind(backbone, preprocessor=None)
        model.compile(sampler="greedy", jit_compile=jit_compile)
        _, ids = prompts(case)
        padded = np.pad(ids, [[0, 0], [0, NEW]])
        mask = np.pad(np.ones_like(ids), [[0, 0], [0, NEW]])

        def run():
            found = model.generate({"token_ids": padded, "padding_mask": mask}, stop_token_ids=None)
            return np.asarray(found["token_ids"])[:, PROMPT:]

        return checked(case, run)

    return setup


def pytorch(cache: str | None):
    """The ``generate`` of transformers, greedy, with one of its caches."""

    def setup(case: str):
        import torch
        import transformers

        name, rows = split(case)
        torch.set_num_threads(os.cpu_count())
        model = transformers.AutoModelForCausalLM.from_pretrained(directory(name), dtype=torch.float32).eval()
        _, ids = prompts(case)
        given = torch.tensor(ids, dtype=torch.int64)
        options = {"cache_implementation": cache} if cache else {}
        end = model.generation_config.eos_token_id

        def run():
            with torch.inference_mode():
                found = model.generate(
                    given,
                    attention_mask=torch.ones_like(given),
                    do_sample=False,
                    min_new_tokens=NEW,
                    max_new_tokens=NEW,
                    pad_token_id=0 if end is None else None,
                    **options,
                )
            return found[:, PROMPT:].numpy()

        return checked(case, run)

    return setup


def weights(case: str):
    """As many numbers as a token needs, read by all cores once a token."""
    from safetensors import safe_open

    with safe_open(directory(split(case)[0]) / "model.safetensors", "numpy") as file:
        shapes = {key: file.get_slice(key).get_shape() for key in file.keys() if "wpe" not in key}  # noqa: SIM118
    buffer = np.ones(sum(int(np.prod(shape)) for shape in shapes.values()), "float32")

    def run():
        for _ in range(NEW):
            np.dot(buffer, buffer)
        return {"gigabytes": buffer.nbytes / 1e9}

    return run


WORKERS = {
    "kzoo": (kzoo_saved_model("generate_tokens"), "tensorflow"),
    "kzoo, XLA": (kzoo_saved_model("generate_tokens_xla"), "tensorflow"),
    "KerasHub": (keras_hub("auto"), "keras_hub"),
    "KerasHub, XLA": (keras_hub(True), "keras_hub"),
    "PyTorch": (pytorch(None), "torch"),
    "PyTorch, static cache": (pytorch("static"), "torch"),
    "weights, read": (weights, "numpy"),
}


def main() -> None:
    """Runs one worker, or compares all of them."""
    further = [
        ("--peers", dict(nargs="+", choices=list(WORKERS), default=list(WORKERS), help="whom to compare")),
        ("--cases", dict(nargs="+", choices=CASES, default=CASES, help="which models and rows")),
    ]
    options = harness.arguments(__doc__.splitlines()[0], CASES, further)
    FOLDER.mkdir(parents=True, exist_ok=True)
    if options.worker:
        harness.serve_worker(WORKERS[options.worker][0], options.case)
        return
    names = [name for name in options.peers if importlib.util.find_spec(WORKERS[name][1])]
    print(harness.machine(["tensorflow", "keras", "keras-hub", "torch", "transformers"]), "\n")
    for case in options.cases:
        rows = harness.compare(__file__, names, case, options.rounds)
        columns = {
            f"{case}": lambda row: row["name"],
            "ms a token (lowest to highest)": lambda row: (
                f"{row['median'] * 1e3 / NEW:.1f} ({row['low'] * 1e3 / NEW:.1f} to {row['high'] * 1e3 / NEW:.1f})"
            ),
            "time over the first": lambda row: (
                f"{row['ratio']:.2f} ({row['ratio_low']:.2f} to {row['ratio_high']:.2f})"
            ),
            "core-seconds over the first": lambda row: f"{row['core_ratio']:.2f}",
            "tokens until one is not kzoo's": lambda row: (
                f"{row['agreeing']} of {row['tokens']}" if "agreeing" in row else ""
            ),
        }
        print(harness.table(rows, columns), "\n", flush=True)
        (FOLDER / f"{case}.json").write_text(json.dumps(rows))


if __name__ == "__main__":
    main()
