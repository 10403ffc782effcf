"""Which devices a run uses, and how its work is spread over them."""

from functools import cache

import keras
import tensorflow as tf

from kzoo.errors import UserError


def choose(strategy: str = "auto", *, device: str = "auto") -> tf.distribute.Strategy:
    """The strategy of a run; sets memory growth on every GPU that is seen.

    Args:
        strategy: ``auto`` is ``mirrored`` where there are several GPUs, else ``one_device``. ``mirrored`` keeps a copy
            of the model on each GPU, or on each logical CPU device where there is no GPU. An instance of
            ``tf.distribute.Strategy`` is taken as it is.
        device: ``gpu`` insists on one, ``cpu`` uses none, ``auto`` takes what there is.

    Raises:
        UserError: a GPU was asked for and none is seen, or the strategy is one that cannot work.
    """
    if isinstance(strategy, tf.distribute.Strategy):
        _refuse_parameter_server(isinstance(strategy, tf.distribute.ParameterServerStrategy))
        return strategy
    _refuse_parameter_server(strategy == "parameter_server")
    if strategy == "multi_worker":
        raise UserError(
            "Strategy multi_worker (several machines) comes in a later release of kzoo. "
            "Use strategy: mirrored for the GPUs of one machine."
        )
    if strategy not in ("auto", "one_device", "mirrored"):
        raise UserError(f"strategy must be auto, one_device or mirrored. Received: {strategy!r}.")
    devices = _devices(device)
    if strategy == "auto":
        strategy = "mirrored" if len(devices) > 1 and devices[0].device_type == "GPU" else "one_device"
    if strategy == "mirrored":
        return _mirrored(tuple(f"{one.device_type}:{_index(one)}" for one in devices))
    return tf.distribute.get_strategy()  # the default one, on the first GPU if any


def describe(strategy: tf.distribute.Strategy) -> str:
    """One line that says how many replicas run where, such as ``1 device: CPU:0 (TensorFlow 2.21.0, Keras 3.15.1)``."""
    if tf.distribute.has_strategy() or strategy is not tf.distribute.get_strategy():
        names = [_short(name) for name in strategy.extended.worker_devices]
    else:
        names = [_short((tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU"))[0].name)]
    described = ", ".join(f"{name}{_model(name)}" for name in names)
    count = strategy.num_replicas_in_sync
    versions = f"TensorFlow {tf.__version__}, Keras {keras.__version__}"
    return f"{count} device{'s' if count > 1 else ''}: {described} ({versions})"


@cache
def _mirrored(devices: tuple[str, ...]) -> tf.distribute.MirroredStrategy:
    """One strategy a process: a second one over the same devices would number its collective ops from the start too."""
    return tf.distribute.MirroredStrategy(list(devices))


def _refuse_parameter_server(asked: bool) -> None:
    if asked:
        raise UserError(
            "ParameterServerStrategy does not work with Keras 3. Use strategy: mirrored, "
            "which keeps a copy of the model on each GPU of one machine."
        )


def _devices(device: str) -> list[tf.config.LogicalDevice]:
    gpus = tf.config.list_physical_devices("GPU")
    if device == "gpu" and not gpus:
        raise UserError(
            "A GPU was asked for (training.device: gpu) and TensorFlow sees none. Check nvidia-smi, "
            "CUDA_VISIBLE_DEVICES and that kzoo was installed with its gpu extra (pip install 'kzoo[gpu]'), "
            "or use training.device: cpu."
        )
    if device == "cpu" and gpus:
        try:
            tf.config.set_visible_devices([], "GPU")
        except RuntimeError:
            raise UserError(
                "training.device: cpu came too late: TensorFlow uses the GPU already in this process. "
                "Start it with CUDA_VISIBLE_DEVICES= (empty)."
            ) from None
    for gpu in gpus:
        try:
            tf.config.experimental.set_memory_growth(gpu, True)
        except RuntimeError:
            pass  # the devices are in use already: their memory stays as it was set
    return tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")


def _index(device: tf.config.LogicalDevice) -> str:
    return device.name.rpartition(":")[2]


def _short(name: str) -> str:
    return ":".join(name.split(":")[-2:])


def _model(name: str) -> str:
    kind, _, index = name.partition(":")
    gpus = tf.config.list_physical_devices("GPU")
    if kind != "GPU" or int(index) >= len(gpus):
        return ""
    return f" {tf.config.experimental.get_device_details(gpus[int(index)]).get('device_name', '')}".rstrip()
