#!/usr/bin/env bash
# What the parameters of two or more trained models contribute, what their removal costs, and rounds of
# self-distillation: all figures and pictures of benchmarks/sensitivity.md.
#
# Usage: benchmarks/sensitivity.sh --data DIR --out DIR --run DIR [--run DIR ...] [options]
#          [scripts/train.sh's flags...] >benchmarks/sensitivity.md
#
#   --data DIR      the dataset that the runs were trained on
#   --out DIR       pruning/ and rounds/; repeated, what is finished is skipped
#   --run DIR       a run of scripts/train.sh; its folder's name stands in tables and pictures
#   --ratios "R .." shares of parameters to remove (default: "0 0.1 0.2 0.4 0.6")
#   --rounds R      of self-distillation (default: 1), trained with the flags given for scripts/train.sh
#   --results DIR   where JSON and pictures are copied to (default: benchmarks/results)
#   --python PATH   interpreter that has fairseq and matplotlib (default: as scripts/train.sh)
set -euo pipefail
# shellcheck source=benchmarks/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

data='' out='' runs=() ratios='0 0.1 0.2 0.4 0.6' rounds=1 python_flag='' passed=()
results=$checkout/benchmarks/results
while [[ $# -gt 0 ]]; do
  case $1 in
    --*=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" ;;
    --data) need_value "$@"; data=$2; shift 2 ;;
    --out) need_value "$@"; out=$2; shift 2 ;;
    --run) need_value "$@"; runs+=("$2"); shift 2 ;;
    --ratios) need_value "$@"; ratios=$2; shift 2 ;;
    --rounds) need_value "$@"; rounds=$2; shift 2 ;;
    --results) need_value "$@"; results=$2; shift 2 ;;
    --python) need_value "$@"; python_flag=$2; shift 2 ;;
    --help | -h) usage; exit ;;
    *) passed+=("$1"); shift ;;
  esac
done
need_dataset --data "$data"
[[ -n $out ]] || die "--out is missing: the folder for pruning/ and rounds/"
[[ ${#runs[@]} -gt 0 ]] || die "--run is missing: a run of scripts/train.sh"
find_python "$python_flag"
export FAIRSEQ_INTRA_PYTHON=$python
make_folder --results "$results"

checkpoints=() evaluations=() reports=()
for run in "${runs[@]}"; do
  checkpoints+=(--checkpoint "$run/checkpoints/checkpoint_best.pt")
  reports+=("$out/pruning/$(basename -- "$run").sensitivity.json")
  evaluations+=("$run/checkpoints/checkpoint_best.test.json")
  [[ -f ${evaluations[-1]} ]] || "$checkout/scripts/evaluate.sh" --checkpoint "${checkpoints[-1]}" --data "$data" >&2
done
tool() {
  "$python" -c "$run_checkout" "$checkout" "$@"
}

students=()
for ((round = 0; round <= rounds; round++)); do
  students+=("$out/rounds/round$round.sensitivity.json")
done
"$checkout/scripts/pruning-curve.sh" "${checkpoints[@]}" --data "$data" --out "$out/pruning" --ratios "$ratios" \
  --max-len-b 30 >&2
"$checkout/scripts/self-distillation.sh" --data "$data" --rounds "$rounds" --out "$out/rounds" ${passed[@]+"${passed[@]}"} >&2
tool plot-sensitivity "${reports[@]}" --output "$results/sensitivity" >&2
tool plot-sensitivity "${students[@]}" --output "$results/self-distillation" >&2
cp -- "${reports[@]}" "${students[@]}" "$out"/pruning/pruning-curve.{json,svg} "$results"
rm -f -- "$results"/{sensitivity,self-distillation}.png

cat <<EOT
# What the parameters do

\`benchmarks/sensitivity.sh --data DIR --out DIR$(printf ' --run RUN%.0s' "${runs[@]}") --ratios "$ratios" --rounds $rounds ${passed[*]}\`,
$(date --utc +%F),
$("$python" -c 'import platform, torch; from importlib.metadata import version
said = {"Python": platform.python_version(), "torch": torch.__version__, "sacrebleu": version("sacrebleu")}
print("CPU, " + ", ".join(f"{name} {number}" for name, number in said.items()) + ".")')
Each run is its \`scripts/train.sh\` with the same flags (\`${passed[*]}\`). One seed.

## Sensitivity

"Divided by the loss" is what the columns "/ loss" are; Gini and the shares do not change with it. The shares are what
the least sensitive half and the most sensitive fifth of the parameters hold of all sensitivity.

$(tool sensitivity-table "${reports[@]}" --evaluations "${evaluations[@]}")

![Density, cumulative share, and mean by part and layer](results/sensitivity.svg)

By group:

$(tool sensitivity-table "${reports[@]}" --groups)

## Pruning

Set to zero: a share of all weights but norms and biases. Translations end after 30 subwords at the latest
(\`--max-len-b 30\`), which models with much removed would not do by themselves; it cuts long messages of the whole
ones short as well.

$(cat -- "$out/pruning/pruning-curve.md")

![BLEU against the share removed](results/pruning-curve.svg)

## Rounds of self-distillation

\`scripts/self-distillation.sh --data DIR --rounds $rounds --out DIR ${passed[*]}\`

$(cat -- "$out/rounds/rounds.md")

![Density, cumulative share, and mean by part and layer](results/self-distillation.svg)
EOT
