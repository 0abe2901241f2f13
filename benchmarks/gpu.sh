#!/usr/bin/env bash
# What only a GPU shows, in ten minutes, without a network: bash benchmarks/gpu.sh [FOLDER]
# MEASURE_ONLY=1 counts nothing. Writes FOLDER/plan.csv (predicted beside measured), compiled.csv (the first two with --compile),
# step.txt (DenseCL beside its bare backbone), tests.txt.
set -uo pipefail
cd "$(dirname "$0")/.."
out=${1:-work_dirs/gpu}
mkdir -p "$out"
recipes=(
    configs/mocov2/mocov2_resnet50_8xb32-coslr-200e_in1k.py
    configs/densecl/densecl_resnet50_8xb32-coslr-200e_in1k.py
    configs/pixpro/pixpro_resnet50_8xb128-coslr-100e_in1k.py
    configs/byol/byol_resnet50_8xb512-coslr-100e_in1k.py
    configs/dino/dino_vit-small_8xb64-mcrop-coslr-100e_in1k.py
    configs/soco/soco_resnet50_fpn_16xb128-coslr-100e_in1k.py
)
python3 benchmarks/plan.py "${recipes[@]}" --amp fp32 bf16 --measure ${MEASURE_ONLY:+--measure-only} --csv "$out/plan.csv"
python3 benchmarks/plan.py "${recipes[@]:0:2}" --amp bf16 --compile --csv "$out/compiled.csv"
if python3 -c 'import torch, sys; sys.exit(not torch.cuda.is_available())'; then
    python3 benchmarks/step.py --arch resnet50 --size 224 --batch 32 --amp bf16 | tee "$out/step.txt"
    python3 -m pytest -q -m gpu -p no:cacheprovider --continue-on-collection-errors tests | tee "$out/tests.txt"
else
    echo 'not yet measured: no CUDA device' | tee "$out/step.txt" "$out/tests.txt"
fi
