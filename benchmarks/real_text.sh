#!/usr/bin/env bash
# The table on five pairs of real text in place of IWSLT'14: Tatoeba's German-English sentences, and the Bible from
# German, Spanish, Dutch and Polish into English.
#
# Usage: benchmarks/real_text.sh --data DIR --out DIR [options] [flags of iwslt14.sh and train.sh...]
#
#   --data DIR        tatoeba-de-en/{train,valid,test}.{de,en}.gz and bible/{train,valid,test}.{de,es,nl,pl,en}.gz
#   --out DIR         the datasets in data/, the runs and table.md in runs/
#   --vocab-size N    subwords of each pair's joint vocabulary (default: 12000)
#   --test-pairs N    only the first N pairs of valid and test (default: all)
#   --preset PRESET   of scripts/train.sh (default: tiny)
#
# Repeated, it resumes. For two CPU cores and three quarters of an hour:
#   benchmarks/real_text.sh --data DIR --out OUT --vocab-size 4000 --test-pairs 500 --jobs 2 --updates 1000
set -euo pipefail
# shellcheck source=benchmarks/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

data='' out='' vocab_size=12000 test_pairs='' preset=tiny passed=()
while [[ $# -gt 0 ]]; do
  case $1 in
    --*=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" ;;
    --data) need_value "$@"; data=$2; shift 2 ;;
    --out) need_value "$@"; out=$2; shift 2 ;;
    --vocab-size) need_value "$@"; need_count "$@"; vocab_size=$2; shift 2 ;;
    --test-pairs) need_value "$@"; need_count "$@"; test_pairs=$2; shift 2 ;;
    --preset) need_value "$@"; preset=$2; shift 2 ;;
    --help | -h) usage; exit ;;
    *) passed+=("$1"); shift ;;
  esac
done
[[ -n $data ]] || die "--data is missing: the folder of the text"
[[ -n $out ]] || die "--out is missing: where the datasets and runs go"
for corpus in tatoeba-de-en bible; do
  [[ -d $data/$corpus ]] || die "--data $data has no folder $corpus"
done
make_folder --out "$out"

# prepare FOLDER NAME LANG: makes the dataset NAME.LANG-en of the text in FOLDER.
prepare() {
  local input=$data/$1 side split lines
  if [[ -n $test_pairs ]]; then
    input=$out/text/$test_pairs/$2.$3-en
    mkdir -p -- "$input"
    for side in "$3" en; do
      for split in train valid test; do
        if [[ $split == train ]]; then lines=\$; else lines=$test_pairs; fi
        gzip -dc -- "$data/$1/$split.$side.gz" | sed -n "1,${lines}p" >"$input/$split.$side"
      done
    done
  fi
  "$checkout/data-prep/prepare-parallel.sh" --input "$input" --src "$3" --tgt en --out "$out/data/$2.$3-en" \
    --lowercase --clean --vocab-size "$vocab_size" --padding-factor 1
}
prepare tatoeba-de-en tatoeba de
for lang in de es nl pl; do
  prepare bible bible "$lang"
done
exec "$checkout/scripts/iwslt14.sh" --data "$out/data" --out "$out/runs" --corpus "Tatoeba and the Bible" \
  --langs "tatoeba.de bible.de bible.es bible.nl bible.pl" --preset "$preset" ${passed[@]+"${passed[@]}"}
