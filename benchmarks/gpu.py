"""The GPU matrix: training and decoding in bfloat16, kzoo beside PyTorch on the same card. Run by `gpu.sh`.

Training is whole steps (forward, backward, clipping, AdamW) on random ids, so that the input pipeline plays no part:
GPT-2 small on rows of 1,024 tokens, BERT-large filling masks (15%) in rows of 512. Decoding is greedy, GPT-2 small, 128
new tokens behind 128. Each job is a process of its own with a time limit; one that fails, or for which no time is left,
becomes a row that says so. Operations are kzoo's count (``kzoo.models.operations``) in every row, and peaks those of
``kzoo.training.watching.peaks``.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parent))

import harness

MODELS = {
    "gpt2": dict(vocabulary=50257, width=768, layers=12, heads=12, length=1024),
    "bert-large": dict(vocabulary=30522, width=1024, layers=24, heads=16, length=512),
}
TINY = dict(vocabulary=97, width=32, layers=2, heads=2, length=16)
KINDS = ["kzoo", "kzoo, XLA", "kzoo, all GPUs", "PyTorch", "PyTorch, compiled"]
JOBS = [f"train/{model}/{kind}" for model in MODELS for kind in KINDS]
JOBS += [f"decode/gpt2/{kind}" for kind in ("kzoo", "kzoo, XLA", "PyTorch")]
WARM, STEPS, NEW = 3, 20, 128
SECONDS = 150  # of a job
RATE, DECAY, CLIP, MASK_SHARE = 1e-4, 0.01, 1.0, 0.15


def figures_of(model: str, tiny: bool) -> dict:
    """The sizes of a model."""
    return TINY if tiny else MODELS[model]


def places(figures: dict) -> int:
    """Masked places of a row."""
    return max(1, round(figures["length"] * MASK_SHARE))


# -- kzoo ------------------------------------------------------------------------------------------------------------


def kzoo_model(model: str, figures: dict):
    """The model of a task with fresh weights, and its loss."""
    import keras

    from kzoo.models.bert import EncoderConfig, build_encoder
    from kzoo.models.gpt import DecoderConfig, LanguageModel, build_decoder
    from kzoo.models.masked import build_masked
    from kzoo.tasks.masked_loss import MaskedTokenLoss

    kind = DecoderConfig if model == "gpt2" else EncoderConfig
    config = kind(
        vocabulary_size=figures["vocabulary"],
        hidden_dim=figures["width"],
        num_layers=figures["layers"],
        num_heads=figures["heads"],
        feed_forward_dim=4 * figures["width"],
        num_positions=2 * figures["length"],
    )
    if model == "gpt2":
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="mean_with_sample_weight")
        return LanguageModel(build_decoder(config)), loss
    return build_masked(build_encoder(config), config), MaskedTokenLoss()


def random_batch(model: str, figures: dict, rows: int):
    """Features, targets and weights of random ids."""
    import numpy as np

    draw, length = np.random.default_rng(0), figures["length"]
    ids = draw.integers(5, figures["vocabulary"], (rows, length)).astype("int32")
    features = {"token_ids": ids, "padding_mask": np.ones_like(ids)}
    if model == "gpt2":
        return features, np.roll(ids, -1, 1), np.ones(ids.shape, "float32")
    chosen = np.sort(draw.permuted(np.tile(np.arange(length, dtype="int32"), (rows, 1)), axis=1)[:, : places(figures)])
    return (
        features | {"mask_positions": chosen},
        np.take_along_axis(ids, chosen, 1),
        np.ones(chosen.shape, "float32"),
    )


def train_kzoo(model: str, figures: dict, rows: int, steps: int, *, jit: bool = False, all_gpus: bool = False) -> dict:
    """Steps by Keras's ``fit``; with ``all_gpus`` under MirroredStrategy, ``rows`` on each."""
    import keras
    import tensorflow as tf

    from kzoo.models import operations
    from kzoo.training import strategy as strategies
    from kzoo.training.optimizer import adamw
    from kzoo.training.step import TrainingModel
    from kzoo.training.watching.peaks import peak_of_devices

    strategy = strategies.choose("mirrored" if all_gpus else "one_device")
    replicas = strategy.num_replicas_in_sync
    if all_gpus and replicas < 2:
        return {"note": "one GPU is seen"}
    keras.config.set_dtype_policy("mixed_bfloat16")
    with strategy.scope():
        inner, loss = kzoo_model(model, figures)
        optimizer = adamw(inner.trainable_variables, learning_rate=RATE, weight_decay=DECAY)
        trained = TrainingModel(inner, loss=loss, optimizer=optimizer, clip_norm=CLIP, jit=jit)
    batch = random_batch(model, figures, rows)
    data = tf.data.Dataset.from_tensors(batch).repeat()
    if all_gpus:
        data = strategy.distribute_datasets_from_function(lambda context: data)
    count = operations.of_training(inner).of(
        rows=rows,
        tokens=rows * figures["length"],
        squares=rows * figures["length"] ** 2,
        places=rows * places(figures),
    )
    trained.fit(data, steps_per_epoch=WARM, verbose=0)
    begin = time.perf_counter()
    history = trained.fit(data, steps_per_epoch=steps, verbose=0)
    seconds = (time.perf_counter() - begin) / steps
    gpus = tf.config.list_physical_devices("GPU")
    return {
        "seconds": seconds,
        "tokens": rows * figures["length"] * replicas,
        "operations": count * replicas,
        "devices": replicas,
        "peak": peak_of_devices("mixed_bfloat16"),
        "memory": tf.config.experimental.get_memory_info("GPU:0")["peak"] / 2**30 if gpus else None,
        "loss": history.history["loss"][0],
    }


def decode_kzoo(figures: dict, rows: int, new: int, *, jit: bool = False) -> dict:
    """Greedy decoding by the cached loop."""
    import keras
    import tensorflow as tf

    from kzoo.generation import controls
    from kzoo.generation.decode import decode
    from kzoo.training import strategy as strategies

    strategies.choose("one_device")
    keras.config.set_dtype_policy("bfloat16")
    decoder = kzoo_model("gpt2", figures)[0].backbone

    @tf.function(jit_compile=jit)
    def answer(ids):
        lengths = tf.fill([rows], ids.shape[1])
        return decode(decoder, ids, lengths, controls.plain(rows, max_new_tokens=new)).token_ids

    prompt = tf.constant(random_batch("gpt2", figures | {"length": min(128, figures["length"])}, rows)[0]["token_ids"])
    answer(prompt).numpy()
    begin = time.perf_counter()
    made = answer(prompt).numpy()
    return {"seconds": time.perf_counter() - begin, "tokens": made.size, "rows": rows}


# -- PyTorch ---------------------------------------------------------------------------------------------------------


def torch_model(model: str, figures: dict):
    """The model of transformers with fresh weights."""
    import transformers

    if model == "gpt2":
        return transformers.GPT2LMHeadModel(
            transformers.GPT2Config(
                vocab_size=figures["vocabulary"],
                n_embd=figures["width"],
                n_layer=figures["layers"],
                n_head=figures["heads"],
                n_positions=2 * figures["length"],
                bos_token_id=0,
                eos_token_id=0,
            )
        )
    return transformers.BertForMaskedLM(
        transformers.BertConfig(
            vocab_size=figures["vocabulary"],
            hidden_size=figures["width"],
            num_hidden_layers=figures["layers"],
            num_attention_heads=figures["heads"],
            intermediate_size=4 * figures["width"],
            max_position_embeddings=2 * figures["length"],
        )
    )


def train_torch(model: str, figures: dict, rows: int, steps: int, *, compiled: bool = False) -> dict:
    """Steps in autocast to bfloat16 with scaled_dot_product_attention and a fused AdamW; masked places gathered."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_float32_matmul_precision("high")
    network = torch_model(model, figures).to(device).train()
    features, targets, _ = random_batch(model, figures, rows)
    ids, labels = torch.tensor(features["token_ids"], device=device).long(), torch.tensor(targets, device=device).long()
    chosen = torch.tensor(features.get("mask_positions", targets), device=device).long()

    def loss_of():
        with torch.autocast(device, dtype=torch.bfloat16):
            if model == "gpt2":
                return network(ids, labels=ids, use_cache=False).loss
            hidden = network.bert(ids).last_hidden_state
            hidden = torch.take_along_dim(hidden, chosen[..., None], 1)
            scores = network.cls(hidden)
        return torch.nn.functional.cross_entropy(scores.float().flatten(0, 1), labels.flatten())

    if compiled:
        loss_of = torch.compile(loss_of)
    weights = list(network.parameters())
    groups = [
        {"params": [one for one in weights if one.ndim > 1], "weight_decay": DECAY},
        {"params": [one for one in weights if one.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=RATE, fused=True)

    def train(count: int):
        for _ in range(count):
            loss = loss_of()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(weights, CLIP)
            optimizer.step()
        return float(loss.detach())  # waits for the device

    train(WARM)
    begin = time.perf_counter()
    loss = train(steps)
    memory = torch.cuda.max_memory_allocated() / 2**30 if device == "cuda" else None
    seconds = (time.perf_counter() - begin) / steps
    return {"seconds": seconds, "tokens": ids.numel(), "devices": 1, "memory": memory, "loss": loss}


def decode_torch(figures: dict, rows: int, new: int) -> dict:
    """``generate`` of transformers, bfloat16 weights."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = torch_model("gpt2", figures).to(device, torch.bfloat16).eval()
    prompt = random_batch("gpt2", figures | {"length": min(128, figures["length"])}, rows)[0]["token_ids"]
    ids = torch.tensor(prompt, device=device).long()
    knobs = dict(attention_mask=torch.ones_like(ids), do_sample=False, min_new_tokens=new, max_new_tokens=new)

    def run():
        return network.generate(ids, **knobs).cpu()

    run()
    begin = time.perf_counter()
    made = run()
    return {"seconds": time.perf_counter() - begin, "tokens": made.numel() - ids.numel(), "rows": rows}


# -- the matrix ------------------------------------------------------------------------------------------------------


def work(job: str, rows: int, tiny: bool) -> list[dict]:
    """The rows of one job."""
    what, model, kind = job.split("/")
    if tiny and kind.endswith("all GPUs"):
        _two_devices()
    figures, steps, new = figures_of(model, tiny), (2 if tiny else STEPS), (4 if tiny else NEW)
    rows = 2 if tiny else rows
    if what == "decode":
        counts = (1, 2 if tiny else 32)
        if kind == "PyTorch":
            return [decode_torch(figures, count, new) for count in counts]
        return [decode_kzoo(figures, count, new, jit=kind.endswith("XLA")) for count in counts]
    if kind.startswith("PyTorch"):
        return [train_torch(model, figures, rows, steps, compiled=kind.endswith("compiled"))]
    return [train_kzoo(model, figures, rows, steps, jit=kind.endswith("XLA"), all_gpus=kind.endswith("all GPUs"))]


def _two_devices() -> None:
    """Two devices of a CPU, in the place of GPUs."""
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)


def in_process(job: str, rows: int, tiny: bool, seconds: float) -> list[dict]:
    """The same in a process of its own; a failure is a row with a note."""
    command = [sys.executable, __file__, "--job", job, "--batch", str(rows), *(["--tiny"] if tiny else [])]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        return [{"note": f"stopped after {seconds:.0f} s"}]
    if done.returncode:
        return [{"note": (done.stderr.strip().splitlines() or ["failed"])[-1][:120]}]
    return json.loads(done.stdout.strip().splitlines()[-1])


def shown(row: dict, known: dict) -> dict:
    """A row as the table has it; ``known`` remembers the count of operations and the peak of each model."""
    if "operations" in row:
        known[row["model"]] = (row["operations"] / row["tokens"], row["peak"])
    row.setdefault("rate", row["tokens"] / row["seconds"] if "tokens" in row else None)
    each, peak = known.get(row["model"], (None, None)) if row["what"] == "train" else (None, None)
    if each and row["rate"]:
        row["teraflops"] = row["rate"] * each / 1e12
        row["utilisation"] = row["teraflops"] / (peak * row["devices"]) if peak else None
    return row


def main() -> None:
    """Runs one job, or all of them and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=20.0, help="the matrix ends within them")
    parser.add_argument("--batch", type=int, default=16, help="rows a step on each GPU")
    parser.add_argument("--only", nargs="+", choices=JOBS, default=JOBS, metavar="JOB", help=", ".join(JOBS))
    parser.add_argument("--job", choices=JOBS, help=argparse.SUPPRESS)
    parser.add_argument("--tiny", action="store_true", help=argparse.SUPPRESS)  # proves the code on a CPU
    options = parser.parse_args()
    if options.job:
        out = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)  # whatever a library prints does not disturb the answer
        print(json.dumps(work(options.job, options.batch, options.tiny)), file=out, flush=True)
        return
    end = time.monotonic() + 60 * options.minutes
    print(harness.machine(["tensorflow", "keras", "torch", "transformers"]))
    gpus = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True) if not options.tiny else None
    print(gpus.stdout if gpus else "tiny, to prove the code: the figures mean nothing\n", flush=True)
    rows, known = [], {}
    for job in options.only:
        what, model, kind = job.split("/")
        left = end - time.monotonic()
        made = [{"note": "no time was left"}]
        if left > 20:
            made = in_process(job, options.batch, options.tiny, min(SECONDS, left))
        rows += [shown(row | {"what": what, "model": model, "kind": kind}, known) for row in made]
        print(f"{job}: {rows[-1].get('note') or format(rows[-1]['rate'], '.0f') + ' tokens a second'}", flush=True)
    columns = {
        "job": lambda row: f"{row['what']} {row['model']}{', batch ' + str(row['rows']) if 'rows' in row else ''}",
        "with": lambda row: row["kind"],
        "tokens a second": lambda row: f"{row['rate']:.0f}" if row["rate"] else row["note"],
        "ms a step": lambda row: f"{1e3 * row['seconds']:.1f}" if "devices" in row else "",
        "teraflops": lambda row: f"{row['teraflops']:.3g}" if "teraflops" in row else "",
        "FLOP utilisation": lambda row: f"{row['utilisation']:.1%}" if row.get("utilisation") else "",
        "memory peak, GiB": lambda row: f"{row['memory']:.1f}" if row.get("memory") else "",
        "loss": lambda row: f"{row['loss']:.2f}" if "loss" in row else "",
    }
    print("\n" + harness.table(rows, columns))


if __name__ == "__main__":
    main()
