#!/usr/bin/env bash
# The GPU matrix, unattended, in at most 20 minutes: training of GPT-2 small and BERT-large in bfloat16, with and without
# XLA and on all GPUs, decoding, each beside PyTorch on the same card; tokens a second and FLOP utilisation.
#
#   benchmarks/gpu.sh [--minutes 20] [--batch 16]
#
# Without a GPU it says so and ends well.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=${PYTHON:-$here/../.venv/bin/python}
[ -x "$python" ] || python=python3
if ! nvidia-smi --list-gpus 2>/dev/null | grep -q '^GPU '; then
    echo "No NVIDIA GPU is seen here (nvidia-smi lists none): nothing was measured."
    exit 0
fi
exec "$python" "$here/gpu.py" "$@"
