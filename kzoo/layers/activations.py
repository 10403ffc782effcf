"""Activations that Keras has only as an option of another, under the names that published configs use."""

import keras


@keras.saving.register_keras_serializable(package="kzoo")
def gelu_tanh(x):
    """GELU by its tanh approximation (Hendrycks and Gimpel 2016, section 2), as GPT-2 computes it."""
    return keras.activations.gelu(x, approximate=True)


PUBLISHED = {
    "gelu": "gelu",
    "gelu_new": gelu_tanh,
    "gelu_pytorch_tanh": gelu_tanh,
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
    "tanh": "tanh",
}


def activation(name):
    """The Keras activation for the name that a published config uses; an unknown name is a ValueError."""
    if name not in PUBLISHED:
        raise ValueError(f"The activation must be one of {', '.join(PUBLISHED)}. Received {name!r}.")
    return PUBLISHED[name]
