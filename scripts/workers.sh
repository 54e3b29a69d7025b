# shellcheck shell=bash
# Who trains together, and with how large a share of a batch. Source it after lib.sh.

# worker_rank: the number of this worker among those that torchrun or srun started, 0 where neither did.
worker_rank() {
  echo "${RANK:-${SLURM_PROCID:-0}}"
}

# find_workers GPUS: sets $workers (processes that train together), $rank (this one's number; 0 as well where fairseq starts
# them all) and $launch (fairseq's flags for it). Under torchrun or srun every worker runs the script; otherwise
# fairseq-train starts one on each GPU it sees.
find_workers() {
  local gpus=$1 meeting='' local_rank=0
  workers=$((gpus > 0 ? gpus : 1)) rank=$(worker_rank)
  if [[ -n ${WORLD_SIZE:-} ]]; then
    [[ -n ${RANK:-} && -n ${LOCAL_RANK:-} && -n ${MASTER_ADDR:-} && -n ${MASTER_PORT:-} ]] ||
      die "WORLD_SIZE is set, but not all of RANK, LOCAL_RANK, MASTER_ADDR and MASTER_PORT: start it with torchrun"
    workers=$WORLD_SIZE local_rank=$LOCAL_RANK meeting=env://
  elif [[ ${SLURM_STEP_NUM_TASKS:-1} != 1 ]]; then
    workers=$SLURM_STEP_NUM_TASKS local_rank=$SLURM_LOCALID
    meeting=tcp://$(scontrol show hostnames "$SLURM_STEP_NODELIST" | head -n 1):$((10000 + SLURM_JOB_ID % 50000))
  fi
  # Without the world's size every worker trains a model of its own; with a meeting point but without no-spawn none
  # trains, and the exit status is 0.
  launch=(--distributed-world-size "$workers")
  if [[ -n $meeting && $workers -gt 1 ]]; then
    launch+=(--distributed-init-method "$meeting" --distributed-rank "$rank" --distributed-no-spawn)
    if ((gpus)); then
      launch+=(--device-id $((local_rank % gpus)))
    else
      launch+=(--distributed-backend gloo --ddp-backend legacy_ddp)
    fi
  fi
}

# plan_batch TOKENS MOST [GIVEN]: sets $max_tokens (what a worker takes at once: GIVEN, else its share but at most MOST)
# and $update_freq (how often it does before an update), such that all $workers take TOKENS an update.
plan_batch() {
  local tokens=$1 most=$2 given=${3:-} unit nearest
  max_tokens=$((tokens / workers < most ? tokens / workers : most))
  max_tokens=${given:-$((max_tokens > 0 ? max_tokens : 1))}
  unit=$((workers * max_tokens))
  nearest=$(((tokens + unit / 2) / unit * unit))
  update_freq=$((tokens / unit))
  ((tokens == update_freq * unit)) ||
    die "--batch-tokens $tokens is no multiple of $workers x $max_tokens, workers and --max-tokens; the nearest that is: --batch-tokens $((nearest > 0 ? nearest : unit))"
}
