"""Manifests that run a bundle on Kubernetes: ``BUNDLE/kubernetes/``.

Deployment (and one for GPUs), Service, PodDisruptionBudget, HorizontalPodAutoscaler, ConfigMap and the claim of the
volume that the bundle lies on. They are made from the bundle's own image, flags and configs; a file that a person has
changed stays.
"""

import math
import re
from pathlib import Path
from string import Template

from kzoo import resources
from kzoo.errors import UserError
from kzoo.serving import bundle as bundles
from kzoo.serving.launch import container_flags, image
from kzoo.serving.placing import size_of, write_text

FOLDER = "kubernetes"
GPU = "deployment-gpu.yaml"
FILES = (
    "volume.yaml",
    "config-map.yaml",
    "deployment.yaml",
    GPU,
    "service.yaml",
    "disruption-budget.yaml",
    "autoscaler.yaml",
)
_GIBI = 1 << 30
_NAME = re.compile(r"[a-z]([-a-z0-9]{0,51}[a-z0-9])?")  # of a Service, with room for "-bundle" and for pods' endings


def write(directory: Path | str, *, name: str = "", overwrite: bool = False) -> list[Path]:
    """Writes the manifests into a bundle.

    Args:
        directory: the bundle.
        name: of the objects on the cluster; by default made from the folder's name.
        overwrite: whether files that are there are written anew.

    Returns:
        The files written.

    Raises:
        UserError: not a bundle, or a name that the cluster would refuse.
    """
    directory = Path(directory)
    bundles.read_models_config(directory)
    name = name or _name(directory)
    if not _NAME.fullmatch(name):
        raise UserError(
            f"A name on Kubernetes has lower-case letters, digits and '-', at most 53, the first a letter. Received "
            f"{name!r}."
        )
    folder = directory / FOLDER
    folder.mkdir(exist_ok=True)
    written = []
    for file in FILES:
        if overwrite or not (folder / file).exists():
            write_text(folder / file, _filled(directory, name, file))
            written.append(folder / file)
    return written


def _filled(directory: Path, name: str, file: str) -> str:
    is_gpu = file == GPU
    source = "deployment.yaml" if is_gpu else file
    template = Template(resources.find("serving", "bundle", FOLDER, source).read_text(encoding="utf-8"))
    size = _size(directory)
    is_compiled = bundles.has_compiled(directory)
    flags = container_flags(directory, configs="/config")
    if is_gpu:
        flags.append("--per_process_gpu_memory_fraction=0.9")
        flags += ["--xla_gpu_compilation_enabled=true"] if is_compiled else []
    text = template.substitute(
        name=name,
        title=" on GPUs, one a pod: take this one or deployment.yaml" if is_gpu else "",
        image=_gpu_image(image(directory)) if is_gpu else image(directory),
        args="\n".join(f"            - {flag}" for flag in flags),
        memory=f"{_gibi(3 * size + _GIBI)}Gi",  # two versions while one follows the other, and room to work
        storage=f"{_gibi(10 * size)}Gi",
        batching=_indented(directory / bundles.BATCHING_CONFIG),
        monitoring=_indented(directory / bundles.MONITORING_CONFIG),
        gpu='              nvidia.com/gpu: "1"' if is_gpu else "",
        node=_GPU_NODE if is_gpu else "",
    )
    return re.sub(r"\n(?=\n +\S)", "", text) if file.startswith("deployment") else text


_GPU_NODE = """\
      nodeSelector:
        nvidia.com/gpu.present: "true"  # as the GPU operator labels its nodes; put your cluster's label here
      tolerations:
        - key: nvidia.com/gpu
          operator: Exists
          effect: NoSchedule"""


def _name(directory: Path) -> str:
    word = re.sub(r"[^a-z0-9]+", "-", directory.resolve().name.lower()).strip("-")[:40].strip("-")
    return word if _NAME.fullmatch(word) else f"serving-{word}".rstrip("-")


def _gpu_image(word: str) -> str:
    """The image with CUDA of the same version: ``tensorflow/serving:2.19.1-gpu``."""
    place, colon, tag = word.rpartition(":")
    if not colon or "/" in tag or "@" in word or tag.endswith("gpu"):
        return word
    return f"{place}:{tag}-gpu"


def _size(directory: Path) -> int:
    """Bytes of the newest version of every model together."""
    total = 0
    for model in bundles.read_models_config(directory).model_config_list.config:
        for version in bundles.versions(directory, model.name)[-1:]:
            folder = directory / bundles.MODELS / model.name / str(version)
            total += size_of(folder)
    return total


def _gibi(size: int) -> int:
    return max(1, math.ceil(size / _GIBI))


def _indented(path: Path) -> str:
    """A file's text as a block of YAML, four spaces in."""
    lines = path.read_text(encoding="utf-8").rstrip("\n").splitlines()
    return "\n".join(f"    {line}".rstrip() for line in lines)
