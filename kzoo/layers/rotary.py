"""Rotary positions: queries and keys turned by an angle that grows with the position (Su et al. 2021)."""

import math

import keras
import numpy as np
from keras import ops

# B batch, T length, N heads, H head size

_NEEDED = {
    "default": (),
    "linear": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
    "yarn": ("factor", "original_max_position_embeddings"),
}


def frequencies(head_dim, *, base, scaling=None):
    """Angles of a step of one position, by pairs of coordinates (Su et al. 2021, section 3.4.2).

    Args:
        head_dim: H, even.
        base: the base of the geometric series of wavelengths.
        scaling: how a model made for short texts was stretched, by the keys of published configs: ``rope_type``
            "linear" (Chen et al. 2023) divides all by ``factor``; "llama3" only long wavelengths (Llama 3.1);
            "yarn" by a ramp over the pairs (Peng et al. 2023). None for none.

    Returns:
        float32 ``[H / 2]``, and the factor on queries and keys that goes with them (yarn's temperature, else 1).

    Raises:
        ValueError: a scaling that is not known, or a key that it lacks.
    """
    scaling = scaling or {"rope_type": "default"}
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if kind not in _NEEDED:
        raise ValueError(f"The rotary scaling must be one of {', '.join(_NEEDED)}. Received {kind!r}.")
    if missing := [key for key in _NEEDED[kind] if scaling.get(key) is None]:
        raise ValueError(f"The rotary scaling {kind!r} needs {', '.join(missing)}. Received {dict(scaling)}.")
    series = base ** (-np.arange(0, head_dim, 2, dtype="float64") / head_dim)  # [H/2]
    attention_factor = 1.0
    if kind == "linear":
        series = series / scaling["factor"]
    elif kind == "llama3":
        series = _llama3(series, scaling)
    elif kind == "yarn":
        series, attention_factor = _yarn(series, head_dim, base, scaling)
    return series.astype("float32"), attention_factor


def _llama3(series, scaling):
    """Wavelengths longer than the text are stretched by the factor, short ones are kept, those between interpolated."""
    turns = scaling["original_max_position_embeddings"] * series / (2 * math.pi)  # in a text of the original length
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    kept = np.clip((turns - low) / (high - low), 0.0, 1.0)
    return kept * series + (1 - kept) * series / scaling["factor"]


def _yarn(series, head_dim, base, scaling):
    """Pairs that turn often are kept, those that turn seldom stretched, by a linear ramp (equations 19 to 23)."""
    length, factor = scaling["original_max_position_embeddings"], scaling["factor"]

    def pair_of(turns):
        return head_dim * math.log(length / (turns * 2 * math.pi)) / (2 * math.log(base))

    first, last = pair_of(scaling.get("beta_fast") or 32), pair_of(scaling.get("beta_slow") or 1)
    if scaling.get("truncate", True):
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, head_dim - 1)
    stretched = np.clip((np.arange(head_dim // 2) - first) / max(last - first, 0.001), 0.0, 1.0)

    def temperature(weight):
        return 0.1 * weight * math.log(factor) + 1.0 if factor > 1 else 1.0

    attention_factor = scaling.get("attention_factor")
    if attention_factor is None:
        one, all_dims = scaling.get("mscale"), scaling.get("mscale_all_dim")
        attention_factor = temperature(one) / temperature(all_dims) if one and all_dims else temperature(1.0)
    return series / factor * stretched + series * (1 - stretched), attention_factor


def rotate(x, positions, frequency, *, attention_factor=1.0):
    """Turns pairs of coordinates, the first half against the second as Llama does (Su et al. 2021, equation 34).

    Args:
        x: queries or keys ``[B, T, N, H]``, H even.
        positions: integers ``[B, T]`` or ``[1, T]``.
        frequency: ``[H / 2]``, angles of one position.
        attention_factor: factor on the result.

    Returns:
        ``[B, T, N, H]`` in the dtype of ``x``.
    """
    half = x.shape[-1] // 2
    frequency = ops.convert_to_tensor(frequency, dtype="float32")
    angle = ops.cast(positions, "float32")[:, :, None, None] * frequency  # [B, T, 1, H/2]
    cosine, sine = ops.cos(angle) * attention_factor, ops.sin(angle) * attention_factor
    wide = ops.cast(x, "float32")
    first, second = wide[..., :half], wide[..., half:]
    turned = ops.concatenate([first * cosine - second * sine, second * cosine + first * sine], axis=-1)
    return ops.cast(turned, x.dtype)


@keras.saving.register_keras_serializable(package="kzoo")
class Rotary(keras.layers.Layer):
    """Rotary positions: turns queries and keys instead of adding to the embedding (Llama and its kin).

    Args:
        base: the base of the geometric series of wavelengths (10,000 in the paper).
        scaling: how the series is stretched, or None; see ``frequencies``.
    """

    def __init__(self, *, base=10000.0, scaling=None, **kwargs):
        super().__init__(**kwargs)
        self.base = base
        self.scaling = dict(scaling) if scaling else None
        frequencies(2, base=base, scaling=self.scaling)  # what cannot be is refused here

    def call(self, x, positions):
        """Maps ``[B, T, N, H]`` and integers ``[B, T]`` to ``[B, T, N, H]``."""
        frequency, attention_factor = frequencies(x.shape[-1], base=self.base, scaling=self.scaling)
        return rotate(x, positions, frequency, attention_factor=attention_factor)

    def compute_output_shape(self, x_shape, positions_shape):
        return x_shape

    def get_config(self):
        return super().get_config() | {"base": self.base, "scaling": self.scaling}
