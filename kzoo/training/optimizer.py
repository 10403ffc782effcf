"""The optimizer of a run: AdamW with one fused update a weight and decay where it belongs, or any of Keras's."""

import re
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from kzoo.errors import UserError

NO_DECAY_NAMES = ("bias", "scale", "gamma", "beta")


@keras.saving.register_keras_serializable(package="kzoo")
class AdamW(keras.optimizers.AdamW):
    """Keras's AdamW (Loshchilov and Hutter 2019) with TensorFlow's fused kernel for each weight.

    The same numbers as ``keras.optimizers.AdamW``, whose update is about a dozen passes over each weight's memory;
    the kernel makes one. Gradients of embeddings become dense first, so that every moment decays at every update.

    Args:
        rates: paths of weights to factors on their learning rate and decay; 1 for those not named.
        kwargs: see ``keras.optimizers.AdamW``.
    """

    def __init__(self, *args, rates: Mapping[str, float] | None = None, **kwargs):
        super().__init__(*args, **kwargs)
        self.rates = dict(rates or {})

    def _apply_weight_decay(self, variables):
        if self.weight_decay is None:
            return

        def share(variable):
            factors = (self.learning_rate, self.weight_decay * self._rate(variable))
            return tf.multiply(*(tf.cast(factor, variable.dtype) for factor in factors))

        decayed = [(one.value, share(one)) for one in variables if self._use_weight_decay(one)]

        def decay(distribution, decayed):
            for variable, share in decayed:
                distribution.extended.update(variable, _shrink, args=(share,), group=False)

        # as Keras does, which passes over each weight once more, for its two factors one after the other
        tf.__internal__.distribute.interim.maybe_merge_call(decay, self._distribution_strategy, decayed)

    def _rate(self, variable) -> float:
        return self.rates.get(variable.path, 1.0)

    def get_config(self):
        return super().get_config() | {"rates": self.rates}

    def update_step(self, gradient, variable, learning_rate):
        """Updates one weight; ``variable`` is a ``tf.Variable``."""
        index = self._get_variable_index(variable)
        learning_rate = learning_rate * self._rate(self._trainable_variables[index])
        if self.amsgrad or variable.dtype != tf.float32:  # beta_2 would round to 1 in bfloat16
            return super().update_step(gradient, variable, learning_rate)
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


def _shrink(variable, share):
    variable.assign_sub(variable * share)


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
    rates: Mapping[str, float] | None = None,
    **options,
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
        rates: factors on the learning rate by the path of the weight, as ``layer_rates`` gives them.
        options: further arguments of ``keras.optimizers.AdamW``, such as ``use_ema``.
    """
    optimizer = AdamW(
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        beta_1=beta_1,
        beta_2=beta_2,
        epsilon=epsilon,
        rates=rates,
        **options,
    )
    spared = [variable for variable in variables if not decays(variable, exclude=no_decay)]
    optimizer.exclude_from_weight_decay(var_list=spared)
    optimizer.build(variables)
    return optimizer


def layer_rates(variables, decay: float, *, num_layers: int) -> dict[str, float]:
    """Factors on the learning rate that fall from the head to the embeddings (Howard and Ruder 2018, section 3.2).

    What stands behind the blocks has 1, the last block ``decay``, the one before ``decay ** 2``, and so on; the
    embeddings ``decay ** (num_layers + 1)``.

    Args:
        variables: of a task's model.
        decay: the factor from one layer to the one before.
        num_layers: blocks of the backbone.

    Returns:
        The factor by the weight's path.
    """

    def distance(path: str) -> int:
        if block := re.search(r"block_(\d+)/", path):
            return num_layers - int(block[1])
        return num_layers + 1 if re.search(r"(^|/)(token|position|segment)?_?embedding", path) else 0

    return {variable.path: decay ** distance(variable.path) for variable in variables}


def named(choice: Mapping[str, Any], learning_rate) -> keras.optimizers.Optimizer:
    """One of Keras's optimizers by its name.

    Args:
        choice: ``name`` and the optimizer's own arguments.
        learning_rate: a float or a schedule.

    Raises:
        UserError: Keras has no such optimizer, or it has no such argument.
    """
    name, arguments = choice["name"], {key: value for key, value in choice.items() if key != "name"}
    kinds = {
        kind.__name__.lower(): kind
        for kind in vars(keras.optimizers).values()
        if isinstance(kind, type) and issubclass(kind, keras.optimizers.Optimizer) and kind.__name__ != "Optimizer"
    }
    kinds.pop("lossscaleoptimizer", None)
    if str(name).lower() not in kinds:
        raise UserError(f"optimizer must be one of {', '.join(sorted(kinds))}. Received {name!r}.")
    try:
        return kinds[str(name).lower()](learning_rate=learning_rate, **arguments)
    except (TypeError, ValueError) as error:
        raise UserError(f"The optimizer {name} cannot be made so: {error}.") from None
