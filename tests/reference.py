"""The reference implementations, as oracles: tiny models of `transformers`, noise for weights, saved as directories."""

from pathlib import Path

import numpy as np
import pytest

from tests import tiny

CONFIGS = {
    "bert": dict(
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=24,
        max_position_embeddings=40,
    ),
    "gpt2": dict(n_embd=16, n_layer=3, n_head=4, n_positions=40),
}


def transformers():
    """The package, or a skip."""
    pytest.importorskip("torch")
    return pytest.importorskip("transformers")


def make(name: str, directory, *, dtype: str = "float32", seed: int = 0, **figures):
    """A tiny model by the name of its class, saved with a tiny tokenizer; returns it in float32 for evaluation."""
    library = transformers()
    import torch

    kind = name[:4].lower()
    ids = {f"{role}_token_id": number for role, number in tiny.tokenizer(kind).special_ids.items()}
    ids = {key: number for key, number in ids.items() if key.split("_")[0] in ("bos", "eos", "pad")}
    config_class = {"bert": library.BertConfig, "gpt2": library.GPT2Config}[kind]
    config = config_class(**{"vocab_size": tiny.tokenizer(kind).vocabulary_size, **ids, **CONFIGS[kind], **figures})
    model = getattr(library, name)(config).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            parameter.normal_(std=0.3, generator=generator)
            if "norm" in parameter_name.lower() or ".ln_" in parameter_name:
                parameter.add_(parameter_name.endswith("weight"))
    model.tie_weights()
    model.to(getattr(torch, dtype)).save_pretrained(directory)
    tiny.WRITERS[kind](directory)
    return model.float()


def ask(model, features, **options) -> dict:
    """What the reference answers to kzoo's features: its outputs as numpy arrays."""
    import torch

    with torch.no_grad():
        outputs = model(
            input_ids=torch.tensor(features["token_ids"]).long(),
            attention_mask=torch.tensor(features["padding_mask"]).long(),
            **options,
        )

    def numpy(value):
        return [numpy(one) for one in value] if isinstance(value, tuple) else np.asarray(value)

    return {key: numpy(value) for key, value in outputs.items() if key != "past_key_values"}


def load(directory, name: str):
    """A directory read by the reference; it may miss nothing and find nothing it does not expect."""
    import torch

    model, report = getattr(transformers(), name).from_pretrained(
        Path(directory), output_loading_info=True, dtype=torch.float32
    )
    assert not report["missing_keys"] and not report["unexpected_keys"] and not report["mismatched_keys"], report
    return model.eval()
