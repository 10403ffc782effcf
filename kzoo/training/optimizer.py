"""AdamW: one fused update a weight, and weight decay where it belongs."""

import re

import keras
import tensorflow as tf

NO_DECAY_NAMES = ("bias", "scale", "gamma", "beta")


@keras.saving.register_keras_serializable(package="kzoo")
class AdamW(keras.optimizers.AdamW):
    """Keras's AdamW (Loshchilov and Hutter 2019) with TensorFlow's fused kernel for each weight.

    The same numbers as ``keras.optimizers.AdamW``, whose update is about a dozen passes over each weight's memory;
    the kernel makes one. Gradients of embeddings become dense first, so that every moment decays at every update.
    """

    def update_step(self, gradient, variable, learning_rate):
        """Updates one weight; ``variable`` is a ``tf.Variable``."""
        if self.amsgrad or variable.dtype != tf.float32:  # beta_2 would round to 1 in bfloat16
            return super().update_step(gradient, variable, learning_rate)
        index = self._get_variable_index(variable)
        updates = tf.cast(self.iterations + 1, "float32")
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=tf.pow(self.beta_1, updates),
            beta2_power=tf.pow(self.beta_2, updates),
            lr=tf.cast(learning_rate, "float32"),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=tf.cast(tf.convert_to_tensor(gradient), "float32"),
            use_locking=True,
        )


def decays(variable, *, exclude: list[str] | None = None) -> bool:
    """Whether weight decay applies: to matrices, not to biases, norms, or what ``exclude`` matches.

    Args:
        variable: a ``keras.Variable``.
        exclude: regular expressions searched for in the variable's path, such as ``"embedding"``.
    """
    if len(variable.shape) < 2 or variable.name in NO_DECAY_NAMES:
        return False
    return not any(re.search(pattern, variable.path) for pattern in exclude or [])


def adamw(
    variables,
    *,
    learning_rate,
    weight_decay: float = 0.01,
    no_decay: list[str] | None = None,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-8,
) -> AdamW:
    """AdamW built for these variables, sparing biases and norms from the decay.

    Args:
        variables: the model's trainable variables.
        learning_rate: a float or a schedule.
        weight_decay: the decay of an update is ``learning_rate * weight_decay * weight``.
        no_decay: further regular expressions of paths to spare.
        beta_1: decay of the mean of gradients.
        beta_2: decay of the mean of squared gradients.
        epsilon: added to the square root, after Kingma and Ba's "epsilon hat".
    """
    optimizer = AdamW(
        learning_rate=learning_rate, weight_decay=weight_decay, beta_1=beta_1, beta_2=beta_2, epsilon=epsilon
    )
    spared = [variable for variable in variables if not decays(variable, exclude=no_decay)]
    optimizer.exclude_from_weight_decay(var_list=spared)
    optimizer.build(variables)
    return optimizer
