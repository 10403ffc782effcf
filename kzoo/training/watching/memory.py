"""How much memory a run takes."""

import resource
import sys
from pathlib import Path

import tensorflow as tf

GIGA = 1e9
STATUS = Path("/proc/self/statm")


def memory() -> dict[str, float]:
    """Scalars in gigabytes (10^9 bytes): of the fullest GPU what is taken and what was at most, else of the process.

    ``memory_gigabytes`` and, with a GPU, ``memory_peak_gigabytes``.
    """
    gpus = tf.config.list_logical_devices("GPU")
    if not gpus:
        return {"memory_gigabytes": resident_bytes() / GIGA}
    said = [tf.config.experimental.get_memory_info(f"GPU:{number}") for number in range(len(gpus))]
    return {
        "memory_gigabytes": max(one["current"] for one in said) / GIGA,
        "memory_peak_gigabytes": max(one["peak"] for one in said) / GIGA,
    }


def resident_bytes() -> int:
    """Memory of this process now; where the system does not say it, the most it ever took."""
    if STATUS.exists():
        return int(STATUS.read_text().split()[1]) * resource.getpagesize()
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
