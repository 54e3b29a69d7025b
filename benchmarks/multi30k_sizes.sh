#!/usr/bin/env bash
# How much text is too much? The first pairs of Multi30k, English to German, methods to convergence at each size, then a
# table and a picture over the number of pairs.
#
# Usage: benchmarks/multi30k_sizes.sh --input DIR --out DIR --step-times FILE [options] [flags of multi30k.sh...]
#
#   --input DIR      Multi30k's data/task1/tok: {train,val,test_2016_flickr,...}.lc.norm.tok.{en,de}
#   --out DIR        texts, a folder of runs for each size, when_it_pays.png and .svg; the table is printed
#   --step-times F   step_times.json of time_to_quality.py --parts calibrate: what an update of each method costs
#   --methods LIST   plain and others, as a quoted list (default: plain rdrop late)
#   --sizes LIST     numbers of pairs, as a quoted list (default: 1000 2000 5000 10000 29000)
#
# Repeated, it goes on where it was; the table has the sizes that are finished. Batches of 2,048 tokens, validated by
# BLEU every 100 updates; a run ends when that has not improved for ten validations. Days of one CPU core.
set -euo pipefail
# shellcheck source=benchmarks/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

input='' out='' times='' methods='plain rdrop late' sizes='1000 2000 5000 10000 29000' passed=()
while [[ $# -gt 0 ]]; do
  case $1 in
    --input) need_value "$@"; input=$2; shift 2 ;;
    --out) need_value "$@"; out=$2; shift 2 ;;
    --step-times) need_value "$@"; times=$2; shift 2 ;;
    --methods) need_value "$@"; methods=$2; shift 2 ;;
    --sizes) need_value "$@"; sizes=$2; shift 2 ;;
    --help) usage; exit ;;
    *) passed+=("$1"); shift ;;
  esac
done
[[ -f $input/train.lc.norm.tok.en ]] || die "--input ${input:-is missing}: no train.lc.norm.tok.en there"
[[ -n $out ]] || die "--out is missing: where everything goes"
[[ -f $times ]] || die "--step-times ${times:-is missing}: no such file; time_to_quality.py --parts calibrate makes it"
find_python
make_folder --out "$out"

late=()
if [[ " $methods " == *" late "* ]]; then late=(--plain-patience 3); fi
for size in $sizes; do
  need_count --sizes "$size"
  text=$out/text/$size/tok
  mkdir -p -- "$text"
  for path in "$input"/*.lc.norm.tok.{en,de}; do
    name=${path##*/}
    if [[ $name == train.* ]]; then lines=$size; else lines=\$; fi
    sed -n "1,${lines}p" "$path" >"$text/$name"
  done
  "$checkout/scripts/multi30k.sh" --input "$out/text/$size" --out "$out/$size" --methods "$methods" --average 5 \
    --batch-tokens 2048 --lr 3e-3 --warmup-updates 400 --patience 10 --valid-bleu "${late[@]}" \
    --validate-interval 100000 --validate-interval-updates 100 --save-interval-updates 100 \
    --keep-interval-updates 10 --no-epoch-checkpoints "${passed[@]}"
done
"$python" "$checkout/benchmarks/when_it_pays.py" --out "$out" --step-times "$times"
