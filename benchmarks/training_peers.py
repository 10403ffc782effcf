"""One training run in kzoo, KerasHub and PyTorch: each gives a function that trains one pass over the same rows.

AdamW with decay on matrices alone, clipping to length 1, the same learning rate and dropout. Each peer masks texts anew
in every pass, scores the vocabulary at the masked places alone, and pads a batch of BERT's to its longest row (kzoo: to
its bucket); GPT-2 reads packed blocks. A pass reports the real tokens it read, its loss, and the process's memory peak.
"""

import resource

import numpy as np
import training_data as data

SHAPE = {"hidden_dim": 768, "num_layers": 12, "num_heads": 12}
TINY = {"hidden_dim": 32, "num_layers": 2, "num_heads": 2}
RATE, DECAY, CLIP, MASK_SHARE = 1e-4, 0.01, 1.0, 0.15


def report(tokens: int, steps: int, loss: float) -> dict:
    """What a pass says of itself."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    return {"amount": tokens, "steps": steps, "loss": float(loss), "memory": peak}


class Case:
    """What is trained, on what.

    Args:
        name: a family, ``bert`` or ``gpt2``, then words among ``equal`` and ``plain`` (no dropout).
        file: see ``training_data.paragraphs``.
        steps: batches of a pass.
        shape: figures of the model.
    """

    def __init__(self, name: str, file: str | None, steps: int, shape: dict | None = None):
        self.kind, *words = name.split("-")
        self.equal = "equal" in words
        self.dropout = 0.0 if "plain" in words else 0.1
        self.file, self.steps = file, steps
        self.shape = shape or SHAPE

    def rows(self) -> list[list[int]]:
        """Token ids for the peers: framed texts, or packed blocks."""
        if self.kind == "bert":
            return data.masked_rows(self.file, self.steps, equal=self.equal)[1]
        return data.joined_blocks(data.documents(self.file, self.steps, equal=self.equal), 50256)


def kzoo(case: Case, *, jit: bool = False):
    """A task's model and batches as ``kzoo.fit`` makes them, trained by Keras's ``fit``."""
    import tensorflow as tf

    import kzoo as zoo
    from kzoo import tokenizers
    from kzoo.data import pull
    from kzoo.data.batching import Batches
    from kzoo.training.config import TrainingConfig
    from kzoo.training.feeding import fed
    from kzoo.training.making import training_model

    figures = case.shape | {"dropout": case.dropout, "attention_dropout": case.dropout}
    if case.kind == "bert":
        pretrained = zoo.fresh("bert", tokenizers.load(pull("minilm-l6-v2")), num_positions=512, **figures)
        task = zoo.FillMask(pretrained, max_length=data.LENGTH, mask_share=MASK_SHARE, whole_words=False)
        texts = data.masked_rows(case.file, case.steps, equal=case.equal)[0]
    else:
        pretrained = zoo.fresh("gpt2", tokenizers.load(pull("gpt2-tokenizer")), num_positions=1024, **figures)
        task = zoo.Generate(pretrained, max_length=data.LENGTH)
        texts = data.documents(case.file, 40 + case.steps, equal=case.equal)  # a round is a part of a long epoch
    batches = Batches(task, {"text": texts}, batch_size=data.BATCH, training=True)
    settings = TrainingConfig(
        epochs=1, learning_rate=RATE, schedule="constant", warmup=0, weight_decay=DECAY, clip_norm=CLIP, jit=jit
    )
    model = training_model(task, settings, batches.steps, None)
    epochs = iter(range(10**6))

    def run() -> dict:
        before = model.counts["tokens"]
        at = {"epoch": next(epochs), "start_step": 0, "steps": min(case.steps, batches.steps)}
        feed, steps = fed(tf.distribute.get_strategy(), batches, **at)
        history = model.fit(feed, steps_per_epoch=steps, verbose=0)
        return report(model.counts["tokens"] - before, steps, history.history["loss"][0])

    return run


def keras_hub(case: Case, *, jit: bool | str = "auto"):
    """KerasHub's task model, trained by ``fit``; texts in ``bucket_by_sequence_length``."""
    import keras
    import keras_hub as hub
    import tensorflow as tf

    rows = case.rows()
    shape = case.shape
    figures = {
        "hidden_dim": shape["hidden_dim"],
        "intermediate_dim": 4 * shape["hidden_dim"],
        "num_layers": shape["num_layers"],
        "num_heads": shape["num_heads"],
        "dropout": case.dropout,
    }
    texts = tf.data.Dataset.from_generator(lambda: rows, output_signature=tf.TensorSpec([None], tf.int32))
    if case.kind == "bert":
        vocabulary = data.tokenizer("bert").get_vocab_size()
        backbone = hub.models.BertBackbone(vocabulary_size=vocabulary, max_sequence_length=512, **figures)
        model = hub.models.BertMaskedLM(backbone, preprocessor=None)
        generate = hub.layers.MaskedLMMaskGenerator(
            vocabulary_size=vocabulary,
            mask_selection_rate=MASK_SHARE,
            mask_selection_length=round(data.LENGTH * MASK_SHARE),
            mask_token_id=103,
            unselectable_token_ids=[0, 101, 102],
        )

        def prepare(ids):
            masked = generate(ids)
            places = tf.reduce_max(tf.math.count_nonzero(masked["mask_weights"], 1))  # no more than the batch needs
            features = {
                "token_ids": masked["token_ids"],
                "padding_mask": ids != 0,
                "segment_ids": tf.zeros_like(ids),
                "mask_positions": masked["mask_positions"][:, :places],
            }
            return features, masked["mask_ids"][:, :places], masked["mask_weights"][:, :places]

        batches = (
            texts.shuffle(len(rows))
            .bucket_by_sequence_length(
                lambda ids: tf.shape(ids)[0],
                bucket_boundaries=[bucket + 1 for bucket in data.BUCKETS],
                bucket_batch_sizes=[data.BATCH] * (len(data.BUCKETS) + 1),
            )
            .map(prepare, num_parallel_calls=tf.data.AUTOTUNE)
        )
    else:
        backbone = hub.models.GPT2Backbone(vocabulary_size=50257, max_sequence_length=1024, **figures)
        model = hub.models.GPT2CausalLM(backbone, preprocessor=None)

        def prepare(ids):
            ones = tf.ones_like(ids)
            weights = tf.concat([tf.ones_like(ids[:, 1:]), tf.zeros_like(ids[:, :1])], 1)
            return {"token_ids": ids, "padding_mask": ones}, tf.roll(ids, -1, 1), weights

        blocks = texts.map(lambda ids: tf.ensure_shape(ids, [data.LENGTH])).shuffle(len(rows))
        batches = blocks.batch(data.BATCH, drop_remainder=True).map(prepare, num_parallel_calls=tf.data.AUTOTUNE)
    optimizer = keras.optimizers.AdamW(RATE, weight_decay=DECAY, global_clipnorm=CLIP)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=optimizer, loss=loss, jit_compile=jit)  # with its own metric: accuracy
    batches = batches.prefetch(tf.data.AUTOTUNE)
    tokens = sum(map(len, rows))

    def run() -> dict:
        history = model.fit(batches, verbose=0)
        return report(tokens, len(rows) // data.BATCH, history.history["loss"][0])

    return run


def pytorch(case: Case, *, compiled: bool = False):
    """The model of transformers in a plain loop with a fused AdamW; rows grouped by length."""
    import os

    import torch
    import transformers
    from transformers.trainer_pt_utils import LengthGroupedSampler

    torch.set_num_threads(os.cpu_count() or 1)
    rows = case.rows()
    shape, rate = case.shape, case.dropout
    if case.kind == "bert":
        config = transformers.BertConfig(
            hidden_size=shape["hidden_dim"],
            intermediate_size=4 * shape["hidden_dim"],
            num_hidden_layers=shape["num_layers"],
            num_attention_heads=shape["num_heads"],
            hidden_dropout_prob=rate,
            attention_probs_dropout_prob=rate,
        )
        model = transformers.BertForMaskedLM(config)
        tokenizer = transformers.PreTrainedTokenizerFast(
            tokenizer_object=data.tokenizer("bert"),
            pad_token="[PAD]",
            mask_token="[MASK]",
            cls_token="[CLS]",
            sep_token="[SEP]",
        )
        collate = transformers.DataCollatorForLanguageModeling(tokenizer, mlm_probability=MASK_SHARE)
        examples = [{"input_ids": ids} for ids in rows]

        def loss_of(batch):
            chosen = batch["labels"] >= 0
            hidden = model.bert(batch["input_ids"], batch["attention_mask"]).last_hidden_state[chosen]
            return torch.nn.functional.cross_entropy(model.cls(hidden), batch["labels"][chosen])

    else:
        config = transformers.GPT2Config(
            n_embd=shape["hidden_dim"],
            n_layer=shape["num_layers"],
            n_head=shape["num_heads"],
            resid_pdrop=rate,
            embd_pdrop=rate,
            attn_pdrop=rate,
        )
        model = transformers.GPT2LMHeadModel(config)
        examples = rows

        def collate(blocks):
            return {"input_ids": torch.tensor(blocks)}

        def loss_of(batch):
            return model(**batch, labels=batch["input_ids"], use_cache=False).loss

    if compiled:
        loss_of = torch.compile(loss_of, dynamic=True)
    model.train()
    named = list(model.named_parameters())
    groups = [
        {"params": [one for _, one in named if one.ndim > 1], "weight_decay": DECAY},
        {"params": [one for _, one in named if one.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=RATE, fused=True)
    lengths = [len(ids) for ids in rows]
    sampler = LengthGroupedSampler(data.BATCH, lengths=lengths)
    loader = torch.utils.data.DataLoader(examples, batch_size=data.BATCH, sampler=sampler, collate_fn=collate)

    def run() -> dict:
        losses = []
        for batch in loader:
            loss = loss_of(batch)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            optimizer.step()
            losses.append(float(loss.detach()))
        return report(sum(lengths), len(losses), np.mean(losses))

    return run
