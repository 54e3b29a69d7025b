#!/usr/bin/env bash
# The small search that chose the quickstart's preset: amount of text, alpha and its schedule, K, and the model's depth
# and dropout, by the validation loss half-way and at the end and by BLEU, of one seed each.
#
# Usage: benchmarks/quickstart_search.sh --out DIR [--part PART] [--python PATH] >TABLE.md
#
#   --out DIR      where the runs go; repeated, finished ones are skipped
#   --part PART    text: amount of text and alpha (default); model: the model's depth and dropout, and K
#   --python PATH  interpreter that has fairseq (default: as scripts/train.sh)
#
# Each part half an hour on two cores. Every run is scripts/train.sh --preset tiny with the flags of its row.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../scripts/lib.sh"

out='' part=text python_flag=''
while [[ $# -gt 0 ]]; do
  case $1 in
    --*=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" ;;
    --out) need_value "$@"; out=$2; shift 2 ;;
    --part) need_value "$@"; part=$2; shift 2 ;;
    --python) need_value "$@"; python_flag=$2; shift 2 ;;
    --help | -h) usage; exit ;;
    *) die "unknown flag '$1' (see $program --help)" ;;
  esac
done
[[ -n $out ]] || die "--out is missing: the folder of the runs"
[[ $part == text || $part == model ]] || die "--part must be text or model, not '$part'"
find_python "$python_flag"
export FAIRSEQ_INTRA_PYTHON=$python

# row PAIRS UPDATES METHOD FLAGS...: one run of the search, as a row of the table.
row() {
  local pairs=$1 updates=$2 method=$3 data=$out/data$1 name run
  shift 3
  name=$(tr -d ' -' <<<"$pairs.$updates.$method.$*")
  run=$out/$name
  "$checkout/data-prep/prepare-l10n.sh" --lang de --out "$data" --train "$pairs" --max-words 14 --vocab-size 2000 \
    --padding-factor 1 >&2
  "$checkout/scripts/train.sh" --data "$data" --method "$method" --preset tiny --updates "$updates" --seed 1 \
    --out "$run" "$@" >&2
  "$checkout/scripts/evaluate.sh" --checkpoint "$run/checkpoints/checkpoint_best.pt" --data "$data" >&2
  "$python" - "$pairs" "$updates" "$method" "$*" "$run" <<'END'
import json, sys
from fairseq_intra.runs.training_log import parse_log
pairs, updates, method, flags, run = sys.argv[1:]
losses = [line["nll_loss"] for line in parse_log(open(run + "/train.log").read()).valid]
score = json.load(open(run + "/checkpoints/checkpoint_best.test.json"))
cells = (pairs, updates, method, flags, losses[len(losses) // 2 - 1], losses[-1], min(losses))
print("| " + " | ".join(map(str, cells)) + f" | {score['bleu']['score']:.2f} | {score['chrf']['score']:.2f} |")
END
}

cat <<EOT
## The $part

\`benchmarks/quickstart_search.sh --out DIR --part $part\`, $(date --utc +%F), seed 1,
$("$python" -c 'import platform, torch; print(f"{torch.get_num_threads()} CPU threads, Python {platform.python_version()}, torch {torch.__version__}")').

| pairs | updates | method | flags beside the preset's | nll half-way | nll at the end | best nll | BLEU | chrF |
|---:|---:|---|---|---:|---:|---:|---:|---:|
EOT
if [[ $part == text ]]; then
  for pairs in 2000 4000; do
    row "$pairs" 1200 plain
    row "$pairs" 1200 intra --alpha 1
  done
  row 2000 1200 intra --alpha 5 --adaptive-alpha 1
  exit
fi
for model in '--encoder-layers 1 --decoder-layers 1' '--dropout 0.2'; do
  read -ra flags <<<"$model"
  row 2000 1200 plain "${flags[@]}"
  row 2000 1200 intra --alpha 1 "${flags[@]}"
done
row 2000 1200 intra --alpha 1 --num-iter 2
