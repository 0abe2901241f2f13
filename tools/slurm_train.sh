#!/usr/bin/env bash
# Train under Slurm: [GPUS=8] [GPUS_PER_NODE=8] [CPUS_PER_TASK=8] tools/slurm_train.sh PARTITION JOB CONFIG [flags of tools/train.py]
# SRUN_ARGS adds to srun. REQUEUE=1 submits a batch job in place of it (SBATCH_ARGS adds to sbatch): two minutes
# before its time is up it gets SIGTERM, saves, leaves with code 143, and is queued again, where it goes on.
set -euo pipefail
if [ $# -lt 3 ]; then
    echo "usage: $0 PARTITION JOB CONFIG [flags of tools/train.py]" >&2
    exit 2
fi
partition=$1
job=$2
config=$3
shift 3
gpus=${GPUS:-8}
per_node=${GPUS_PER_NODE:-8}
if [ "$per_node" -gt "$gpus" ]; then per_node=$gpus; fi
asked=(-p "$partition" --job-name="$job" --gres="gpu:$per_node" --ntasks="$gpus" --ntasks-per-node="$per_node"
    --cpus-per-task="${CPUS_PER_TASK:-8}")
train=(python -u "$(dirname "$0")/train.py" "$config" --launcher slurm "$@")
# shellcheck disable=SC2206  # it holds several words
step=(srun --kill-on-bad-exit=1 --cpus-per-task="${CPUS_PER_TASK:-8}" ${SRUN_ARGS:-})
if [ -z "${REQUEUE:-}" ]; then
    exec "${step[@]}" "${asked[@]}" "${train[@]}"
fi
# --signal without B: goes to the processes of srun; the batch script lives on and queues the job again.
# shellcheck disable=SC2086
exec sbatch "${asked[@]}" --requeue --open-mode=append --signal=TERM@120 ${SBATCH_ARGS:-} <<END
#!/usr/bin/env bash
$(printf '%q ' "${step[@]}" "${train[@]}" --resume auto)
code=\$?
if [ "\$code" = 143 ]; then scontrol requeue "\$SLURM_JOB_ID"; fi
exit "\$code"
END
