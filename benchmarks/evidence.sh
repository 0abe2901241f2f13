#!/usr/bin/env bash
# What pretraining is worth: methods from random weights on the same photos, then frozen and fine-tuned.
#
#   bash benchmarks/evidence.sh --photos data/photos --out work_dirs/evidence                          # two cores, a day and a half
#   bash benchmarks/evidence.sh --photos data/coco/train2017 --arch resnet50 --device cuda --jobs 1    # one GPU, official recipes
#
# --methods, --seeds ("0 1") and --epochs choose the runs, --tasks and --tunings ("0 1 2 3 4") what they are asked, by
# names of benchmarks/small.py; --labelled my/train.json --val my/val.json asks a set of your own (tasks: frozen tenth whole)
# in place of these; --jobs runs side by side. Options after -- go to every pretraining: with
# -- model.backbone.zero_init_residual=False all of them begin at the usual random weights, also those whose papers have others.
# The same command goes on where it was cut. Data of the tasks: data/{camvid,bccd,coco}, as benchmarks/small.py says.
set -euo pipefail
begun=$PWD
cd "$(dirname "$0")/.."
photos=data/photos out=work_dirs/evidence arch=resnet18 device='' epochs=16 jobs=2
methods='mocov2 simclr byol dino swav barlow_twins densecl pixpro pixcontrast setsim slotcon detcon vicregl detco resim scrl finercl spark distillation'
seeds='0 1' tasks='' tunings='0 1 2 3 4' labelled='' val=''
while [ $# -gt 0 ]; do
    case $1 in
    --photos | --out | --arch | --device | --epochs | --jobs | --methods | --seeds | --tasks | --tunings | --labelled | --val)
        [ $# -gt 1 ] || { echo "evidence.sh: $1 needs a value" >&2; exit 2; }
        case $1 in --photos | --out | --labelled | --val) [ "${2#/}" != "$2" ] || set -- "$1" "$begun/$2" "${@:3}" ;; esac
        declare "${1#--}=$2"; shift 2 ;;
    --) shift; break ;;
    *) echo "evidence.sh: $1 is not known; see the first lines of benchmarks/evidence.sh" >&2; exit 2 ;;
    esac
done
case $out in *,*) echo "evidence.sh: --out $out: a comma separates files here; take another folder" >&2; exit 2 ;; esac
[ -z "$labelled" ] || [ -e "$labelled" ] || { echo "evidence.sh: --labelled $labelled: no such file or folder" >&2; exit 2; }
[ -d "$photos" ] || { echo "evidence.sh: --photos $photos: no such folder" >&2; exit 2; }
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
options=("train_dataloader.dataset.data_root=$photos" "train_cfg.max_epochs=$epochs")
case $device in
cpu) export CUDA_VISIBLE_DEVICES='' ;;
cuda)
    python -c 'import torch, sys; sys.exit(not torch.cuda.is_available())' || { echo 'evidence.sh: no CUDA device' >&2; exit 2; }
    # colours on the GPU, and workers that keep it busy
    options+=(train_dataloader.num_workers=4 train_dataloader.dataset.pipeline.0.photometric_on=device) ;;
'') ;;
*) echo "evidence.sh: --device is cpu or cuda, got $device" >&2; exit 2 ;;
esac

configs=() names=() failed=''
for method in $methods; do
    # the plain recipe of the network has the shortest name
    config=$(find "configs/$method" -name "*_${arch}_*photos.py" -o -name "*_${arch}_*in1k.py" 2>/dev/null |
        awk '{print length, $0}' | sort -n | head -1 | cut -d' ' -f2)
    [ -n "$config" ] || { echo "evidence.sh: configs/$method has no recipe for $arch" >&2; exit 2; }
    names+=("$method") configs+=("$config")
done
for seed in $seeds; do
    for i in "${!names[@]}"; do
        work=$out/runs/${names[i]}-$seed
        [ -f "$work/epoch_$epochs.pth" ] || printf '%s\0' "${configs[i]}" "$work" "$seed"
    done
done | xargs -0 -r -n 3 -P "$jobs" bash -c '
    config=${*: -3:1} work=${*: -2:1} seed=${*: -1}; set -- "${@:1:$#-3}"  # xargs adds these three to the options
    mkdir -p "$work"
    python tools/train.py "$config" --work-dir "$work" --resume auto --amp bf16 --auto-scale-lr --cfg-options "randomness.seed=$seed" "$@" \
        >> "$work/output.log" 2>&1 || { echo "failed: $work: $(tail -n 1 "$work/output.log"); see $work/output.log" >&2; exit 1; }
    echo "pretrained: $work"' evidence "${options[@]}" "$@" >&2 || failed=yes
weights=("--weights" "random=random:${configs[0]}") left_out=''
for name in "${names[@]}"; do
    files='' missing=''
    for seed in $seeds; do  # seed i of a task takes file i, so all of them are needed
        file=$out/runs/$name-$seed/epoch_$epochs.pth
        [ -f "$file" ] && files+=,$file || missing+=" $seed"
    done
    [ -z "$missing" ] && weights+=("--weights" "$name=${files#,}") || left_out+="evidence.sh: not measured: $name, whose pretraining failed with seed$missing"$'\n'
done
asked=(benchmarks/small.py) default='camvid_frozen bccd_frozen coco_frozen camvid_tenth bccd_tenth'
[ -z "$labelled" ] || { asked=(--labelled "$labelled" ${val:+--val "$val"}) default='frozen tenth'; }
# shellcheck disable=SC2086  # words are meant
python tools/benchmark.py "${asked[@]}" --out "$out/benchmark" --jobs "$jobs" --only ${tasks:-$default} --seeds $tunings "${weights[@]}" || failed=yes
printf '%s' "$left_out" >&2
[ -z "$failed" ]
