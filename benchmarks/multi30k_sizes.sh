#!/usr/bin/env bash
# How much text is too much? The first pairs of Multi30k, English to German, methods in equal time at each size, then a table
# and a picture over the number of pairs.
#
# Usage: benchmarks/multi30k_sizes.sh --input DIR --out DIR --step-times FILE [options] [flags of train...]
#
#   --input DIR      Multi30k's data/task1/tok: {train,val,test_2016_flickr,...}.lc.norm.tok.{en,de}
#   --out DIR        texts, data, a folder of runs for each size, when_it_pays.png and .svg; the table is printed
#   --step-times F   step_times.json of time_to_quality.py --parts calibrate: what an update of each method costs
#   --methods LIST   plain and others of time_to_quality.py, as a quoted list (default: plain late-part)
#   --sizes LIST     numbers of pairs, as a quoted list (default: 1000 2000 5000 10000 29000)
#   --seeds N        runs of each method at each size (default: 1)
#   --budget N       the time of a run, in plain updates (default: 4800, half an hour of a core)
#   --switch N       plain updates of late runs (default: 600)
#
# Repeated, it resumes. Transformer-Tiny, batches of 2,048 tokens.
set -euo pipefail
# shellcheck source=benchmarks/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

input='' out='' times='' methods='plain late-part' sizes='1000 2000 5000 10000 29000' passed=()
seeds=1 budget=4800 switch=600
while [[ $# -gt 0 ]]; do
  case $1 in
    --*=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" ;;
    --input) need_value "$@"; input=$2; shift 2 ;;
    --out) need_value "$@"; out=$2; shift 2 ;;
    --step-times) need_value "$@"; times=$2; shift 2 ;;
    --methods) need_value "$@"; methods=$2; shift 2 ;;
    --sizes) need_value "$@"; sizes=$2; shift 2 ;;
    --seeds) need_value "$@"; seeds=$2; shift 2 ;;
    --budget) need_value "$@"; budget=$2; shift 2 ;;
    --switch) need_value "$@"; switch=$2; shift 2 ;;
    --help | -h) usage; exit ;;
    *) passed+=("$1"); shift ;;
  esac
done
[[ -f $input/train.lc.norm.tok.en ]] || die "--input ${input:-is missing}: no train.lc.norm.tok.en there"
[[ -n $out ]] || die "--out is missing: where everything goes"
[[ -f $times ]] || die "--step-times ${times:-is missing}: no such file; time_to_quality.py --parts calibrate makes it"
find_python
pairs=$(wc -l <"$input/train.lc.norm.tok.en")
for size in $sizes; do
  need_count --sizes "$size"
  ((size <= pairs)) || die "--sizes $size: the text has $pairs pairs"
done
make_folder --out "$out"

compare=(--budget "$budget" --switch "$switch" --seeds "$seeds" --methods "$methods" --tests 'test test1 test2')
folders=()
for size in $sizes; do
  text=$out/text/$size/tok
  mkdir -p -- "$text" "$out/runs/$size"
  for path in "$input"/*.lc.norm.tok.{en,de}; do
    name=${path##*/}
    if [[ $name == train.* ]]; then lines=$size; else lines=\$; fi
    sed -n "1,${lines}p" "$path" >"$text/$name"
  done
  "$checkout/data-prep/prepare-multi30k.sh" --langs de --input "$out/text/$size" --out "$out/data/$size"
  cp -- "$times" "$out/runs/$size/step_times.json"
  "$python" "$checkout/benchmarks/time_to_quality.py" --data "$out/data/$size/en-de" --out "$out/runs/$size" --parts train \
    "${compare[@]}" --preset multi30k --batch-tokens 2048 --lr 3e-3 --warmup-updates 400 ${passed[@]+"${passed[@]}"}
  folders+=("$out/runs/$size")
done
"$python" "$checkout/benchmarks/when_it_pays.py" "${compare[@]}" --prefix "$out/when_it_pays" "${folders[@]}"
