"""What a device can do at most: products of dense matrices, in teraflops (10^12 operations a second)."""

from dataclasses import dataclass

import tensorflow as tf


@dataclass(frozen=True)
class Peak:
    """Peak rates of a GPU, without sparsity and without overclocking.

    Attributes:
        half: of bfloat16 and float16 with sums in float32; None where a kind is missing.
        tensor_float: of float32 rounded to TensorFloat-32, which TensorFlow does unless told otherwise; None: not had.
        single: of float32.
        source: where NVIDIA says so. Its sheets print twice as much "with sparsity".
        has_bfloat16: whether ``half`` is had with bfloat16, too.
    """

    half: float
    tensor_float: float | None
    single: float
    source: str
    has_bfloat16: bool = True


_H100 = "NVIDIA H100 Tensor Core GPU datasheet"
_H200 = "NVIDIA H200 Tensor Core GPU datasheet"
_A100 = "NVIDIA A100 Tensor Core GPU datasheet"
_V100 = "NVIDIA V100 Tensor Core GPU datasheet"

PEAKS: dict[str, Peak] = {
    "B200": Peak(2250.0, 1125.0, 75.0, "NVIDIA HGX B200 specifications, an eighth"),
    "H200 NVL": Peak(835.5, 417.5, 60.0, _H200),
    "H200": Peak(989.5, 494.5, 67.0, _H200),
    "GH200": Peak(989.5, 494.5, 67.0, "NVIDIA GH200 Grace Hopper Superchip datasheet"),
    "H100 PCIe": Peak(756.5, 378.0, 51.0, "NVIDIA H100 PCIe product brief"),
    "H100 NVL": Peak(835.5, 417.5, 60.0, _H100),
    "H100": Peak(989.5, 494.5, 67.0, _H100),
    "A100": Peak(312.0, 156.0, 19.5, _A100),
    "A40": Peak(149.7, 74.8, 37.4, "NVIDIA A40 datasheet"),
    "A30": Peak(165.0, 82.0, 10.3, "NVIDIA A30 Tensor Core GPU datasheet"),
    "A10": Peak(125.0, 62.5, 31.2, "NVIDIA A10 Tensor Core GPU datasheet"),
    "RTX A6000": Peak(154.8, 77.4, 38.7, "NVIDIA RTX A6000 datasheet; GA102 architecture white paper"),
    "L40S": Peak(362.0, 183.0, 91.6, "NVIDIA L40S datasheet"),
    "L40": Peak(181.0, 90.5, 90.5, "NVIDIA L40 datasheet"),
    "L4": Peak(121.0, 60.0, 30.3, "NVIDIA L4 Tensor Core GPU datasheet"),
    "RTX 4090": Peak(165.2, 82.6, 82.6, "NVIDIA Ada GPU architecture white paper, appendix A"),
    "RTX 3090": Peak(71.0, 35.6, 35.6, "NVIDIA Ampere GA102 GPU architecture white paper, appendix A"),
    "V100-PCIE": Peak(112.0, None, 14.0, _V100, has_bfloat16=False),
    "V100": Peak(125.0, None, 15.7, _V100, has_bfloat16=False),
    "T4": Peak(65.0, None, 8.1, "NVIDIA T4 Tensor Core GPU datasheet", has_bfloat16=False),
}


def peak_teraflops(name: str, precision: str, *, tensor_float: bool = True) -> float | None:
    """The peak of a GPU, or None where it is not known.

    Args:
        name: as the driver says it, such as "NVIDIA H100 80GB HBM3" or "NVIDIA A100-SXM4-40GB".
        precision: ``float32``, ``mixed_bfloat16`` or ``mixed_float16``.
        tensor_float: whether float32 products may be rounded to TensorFloat-32.
    """
    words = name.replace("-", " ").split()
    for known in sorted(PEAKS, key=lambda one: -len(one)):
        if all(part in words for part in known.replace("-", " ").split()):
            peak = PEAKS[known]
            if precision == "float32":
                return peak.tensor_float if tensor_float and peak.tensor_float else peak.single
            return peak.half if precision == "mixed_float16" or peak.has_bfloat16 else None
    return None


def peak_of_devices(precision: str) -> float | None:
    """The peak of this machine's first GPU; None without one, or where it is not known."""
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return None
    name = tf.config.experimental.get_device_details(gpus[0]).get("device_name", "")
    return peak_teraflops(name, precision, tensor_float=tf.config.experimental.tensor_float_32_execution_enabled())
