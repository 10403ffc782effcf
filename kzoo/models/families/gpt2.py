"""GPT-2 (Radford et al. 2019)."""

from collections.abc import Collection

from kzoo.errors import UserError
from kzoo.models.gpt import DecoderConfig, build_decoder
from kzoo.models.rules import Head, Rule, split, transpose

MODEL_TYPE = "gpt2"
PREFIX = "transformer."  # of the tensors in a directory with a head

build = build_decoder


def config(published: dict, names: Collection[str] | None = None) -> DecoderConfig:
    """Reads the figures from the keys of a published ``config.json``; ``names`` of its tensors are not needed."""
    usual = {"scale_attn_weights": True, "scale_attn_by_inverse_layer_idx": False, "add_cross_attention": False}
    for key, value in usual.items():
        if published.get(key, value) != value:
            raise UserError(f"kzoo's GPT-2 must have {key} {value!r}. Received {published[key]!r}.")
    return DecoderConfig(
        vocabulary_size=published["vocab_size"],
        hidden_dim=published["n_embd"],
        num_layers=published["n_layer"],
        num_heads=published["n_head"],
        feed_forward_dim=published.get("n_inner") or 4 * published["n_embd"],
        num_positions=published["n_positions"],
        activation=published.get("activation_function", "gelu_new"),
        norm_epsilon=published.get("layer_norm_epsilon", 1e-5),
        dropout=published.get("resid_pdrop", 0.1),
        attention_dropout=published.get("attn_pdrop", 0.1),
        stddev=published.get("initializer_range", 0.02),
    )


def publish(config: DecoderConfig) -> dict:
    """The keys of ``config.json`` for a model that kzoo made."""
    return {
        "model_type": MODEL_TYPE,
        "vocab_size": config.vocabulary_size,
        "n_embd": config.hidden_dim,
        "n_layer": config.num_layers,
        "n_head": config.num_heads,
        "n_inner": config.feed_forward_dim,
        "n_positions": config.num_positions,
        "activation_function": config.activation,
        "layer_norm_epsilon": config.norm_epsilon,
        "resid_pdrop": config.dropout,
        "embd_pdrop": config.dropout,
        "attn_pdrop": config.attention_dropout,
        "initializer_range": config.stddev,
    }


def _norm(source, target):
    return [Rule(f"{source}.weight", f"{target}/scale"), Rule(f"{source}.bias", f"{target}/bias")]


def _linear(source, target):  # GPT-2 keeps its matrices [I, O], as kzoo does
    return [Rule(f"{source}.weight", f"{target}/kernel"), Rule(f"{source}.bias", f"{target}/bias")]


_ATTENTION = "blocks/{i}/attention"
_QUERY_KEY_VALUE = [f"{_ATTENTION}/{name}" for name in ("query", "key", "value")]

RULES = [
    Rule("wte.weight", "token_embedding/embeddings"),
    Rule("wpe.weight", "position_embedding/embeddings"),
    *_norm("h.{i}.ln_1", "blocks/{i}/attention_norm"),
    Rule("h.{i}.attn.c_attn.weight", tuple(f"{name}/kernel" for name in _QUERY_KEY_VALUE), split(axis=1, parts=3)),
    Rule("h.{i}.attn.c_attn.bias", tuple(f"{name}/bias" for name in _QUERY_KEY_VALUE), split(axis=0, parts=3)),
    *_linear("h.{i}.attn.c_proj", f"{_ATTENTION}/output_projection"),
    *_norm("h.{i}.ln_2", "blocks/{i}/feed_forward_norm"),
    *_linear("h.{i}.mlp.c_fc", "blocks/{i}/feed_forward/up"),
    *_linear("h.{i}.mlp.c_proj", "blocks/{i}/feed_forward/down"),
    *_norm("ln_f", "final_norm"),
    Rule("lm_head.weight", "token_embedding/embeddings", tied=True, optional=True),
    Rule("h.{i}.attn.bias", None),  # causal masks kept as buffers by older releases
    Rule("h.{i}.attn.masked_bias", None),
]

RENAMED: dict[str, str] = {}
UNUSED = ()

HEADS = {
    "generate": Head(architecture="GPT2LMHeadModel", prefix=PREFIX),
    "classify": Head(
        architecture="GPT2ForSequenceClassification",
        prefix=PREFIX,
        rules=(Rule("score.weight", "head/kernel", transpose),),
    ),
}
ARCHITECTURE = "GPT2Model"
