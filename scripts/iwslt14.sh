#!/usr/bin/env bash
# From prepared IWSLT'14 to the BLEU table: plain training beside intra-distillation, over language pairs and seeds.
# Every pair, method and seed is a run of train.sh and evaluate.sh; the runs are spread over the GPUs.
#
# Usage: scripts/iwslt14.sh --data DIR --out DIR [options] [train.sh's flags...]
#
#   --data DIR        folder of datasets <lang>-en/, as data-prep/prepare-iwslt14.sh makes it
#   --out DIR         the runs as <lang>-en.<method>.seed<N>/, what they said in logs/, and table.md
#   --langs LIST      languages translated into English, as one word (default: "ar de es fa he it nl pl")
#   --methods LIST    plain, intra or both, as one word (default: "plain intra")
#   --seeds LIST      random seeds, as one word (default: 1)
#   --corpus NAME     DIR holds datasets of another corpus, called NAME in the table: any folder <name>-en is one,
#                     <name> what --langs takes (default: all of them); no figures of the paper stand beside
#   --gpus LIST       indices of GPUs, such as 0,1,2 (default: all; without a GPU the CPU)
#   --gpus-per-run N  GPUs that work on one run together (default: 1); the batch stays the same
#   --jobs N          runs at once on each GPU, or on the CPU (default: 1)
#   --average N       evaluate the mean of the last N checkpoints, not the best one
#   --python PATH     interpreter that has fairseq (default: as scripts/train.sh)
#
# All other flags go to train.sh: --preset tiny --updates 300 --dropout 0.2; those of the method, such as --alpha 1, to
# the runs of intra-distillation alone. Repeated, finished runs are skipped and interrupted ones go on from their last
# checkpoint, however the script was ended. A run that fails does not stop the others; it is named at the end, the exit
# status is 1, and the table leaves its pair and seed out.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

iwslt=(ar de es fa he it nl pl)
data='' out='' langs=() methods=(plain intra) seeds=(1) corpus='' gpus='' gpus_per_run=1 jobs=1 average=()
python_flag='' passed=()
while [[ $# -gt 0 ]]; do
  case $1 in
    --data) need_value "$@"; data=$2; shift 2 ;;
    --out) need_value "$@"; out=$2; shift 2 ;;
    --langs) need_value "$@"; read -ra langs <<<"$2"; shift 2 ;;
    --methods) need_value "$@"; read -ra methods <<<"$2"; shift 2 ;;
    --seeds) need_value "$@"; read -ra seeds <<<"$2"; shift 2 ;;
    --corpus) need_value "$@"; corpus=$2; shift 2 ;;
    --gpus) need_value "$@"; gpus=$2; shift 2 ;;
    --gpus-per-run) need_value "$@"; need_count "$@"; gpus_per_run=$2; shift 2 ;;
    --jobs) need_value "$@"; need_count "$@"; jobs=$2; shift 2 ;;
    --average) need_value "$@"; need_count "$@"; average=(--average "$2"); shift 2 ;;
    --python) need_value "$@"; python_flag=$2; shift 2 ;;
    --help) usage; exit ;;
    --dry-run) die "--dry-run is for scripts/train.sh alone" ;;
    --method | --seed) die "$1: here it is ${1}s, with one or more" ;;
    --data=* | --out=* | --langs=* | --methods=* | --seeds=* | --corpus=* | --gpus=* | --gpus-per-run=* | --jobs=* | \
      --average=* | --python=*) die "give ${1%%=*} and its value as two words, not '$1'" ;;
    *) passed+=("$1"); shift ;;
  esac
done
[[ -n $data ]] || die "--data is missing: the folder of the datasets"
[[ -d $data ]] || die "--data '$data' is not a folder"
[[ -n $out ]] || die "--out is missing: the folder of the runs"
[[ -z ${WORLD_SIZE:-} && ${SLURM_STEP_NUM_TASKS:-1} == 1 ]] ||
  die "it starts the trainings itself: run it once, not under torchrun or as several tasks of srun"
need_methods "${methods[@]}"
need_seeds "${seeds[@]}"

if [[ -z $corpus ]]; then
  ((${#langs[@]})) || langs=("${iwslt[@]}")
  for lang in "${langs[@]}"; do
    [[ " ${iwslt[*]} " == *" $lang "* ]] || die "--langs must be of ${iwslt[*]}, not '$lang'; another corpus has --corpus"
  done
elif ((${#langs[@]} == 0)); then
  for manifest in "$data"/*-en/manifest.json; do
    lang=$(basename -- "${manifest%-en/manifest.json}")
    langs+=("$lang")
  done
fi
for lang in "${langs[@]}"; do
  [[ -f $data/$lang-en/manifest.json ]] ||
    die "--data $data has no dataset $lang-en (no $lang-en/manifest.json); data-prep/ makes it"
done

find_python "$python_flag"
export FAIRSEQ_INTRA_PYTHON=$python
count=$(gpu_count)
if [[ -z $gpus && $count -gt 0 ]]; then
  gpus=$(seq -s , 0 $((count - 1)))
fi
# A place is where one run works: what CUDA_VISIBLE_DEVICES is for it, or the CPU.
places=()
if [[ -n $gpus ]]; then
  [[ $gpus =~ ^[0-9]+(,[0-9]+)*$ ]] || die "--gpus must be indices with commas between, such as 0,1, not '$gpus'"
  IFS=, read -ra indices <<<"$gpus"
  # Under CUDA_VISIBLE_DEVICES an index counts within it.
  IFS=, read -ra visible <<<"${CUDA_VISIBLE_DEVICES:-}"
  ((${#indices[@]} % gpus_per_run == 0)) || die "--gpus $gpus: ${#indices[@]} do not make groups of --gpus-per-run $gpus_per_run"
  group=()
  for index in "${indices[@]}"; do
    ((index < count)) || die "--gpus $gpus: there is no GPU $index here; torch sees $count"
    group+=("${visible[index]:-$index}")
    if ((${#group[@]} == gpus_per_run)); then
      places+=("$(IFS=,; echo "${group[*]}")")
      group=()
    fi
  done
  device=(env "CUDA_VISIBLE_DEVICES=${places[0]}")
else
  ((gpus_per_run == 1)) || die "--gpus-per-run $gpus_per_run: torch sees no GPU here"
  places=(cpu)
  device=()
fi

# What is wrong with train.sh's flags is told once, before anything is made.
"${device[@]}" "$checkout/scripts/train.sh" --data "$data/${langs[0]}-en" --method "${methods[0]}" --out "$out/any" \
  --dry-run "${passed[@]}" >/dev/null
make_folder --out "$out"
lock_folder "$out"
exec "$python" "$checkout/scripts/schedule_runs.py" --data "$data" --out "$out" --datasets "${langs[@]/%/-en}" \
  --methods "${methods[@]}" --seeds "${seeds[@]}" --places "${places[@]}" --jobs "$jobs" --corpus "$corpus" \
  "${average[@]}" -- "${passed[@]}"
