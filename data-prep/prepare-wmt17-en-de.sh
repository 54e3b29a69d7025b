#!/usr/bin/env bash
# prepare-wmt17-en-de.sh: WMT'17 English to German, from the official archives to data for fairseq.
#
#   data-prep/prepare-wmt17-en-de.sh --out DIR [--archive-dir DIR] [options]
#
# Train is what these have, about 4.5 million pairs; their checksums are pinned in data-prep/wmt17-archives.txt:
#
#   www.statmt.org/wmt13/training-parallel-europarl-v7.tgz                  658 MB   Europarl v7
#   www.statmt.org/wmt13/training-parallel-commoncrawl.tgz                  918 MB   Common Crawl
#   data.statmt.org/wmt17/translation-task/training-parallel-nc-v12.tgz     169 MB   News Commentary v12
#
# Valid is newstest2013, test is newstest2014 (sacrebleu's wmt14/full), both as sacrebleu has them; newstest2017 lies
# beside them in OUT/text. Disk: 1.8 GB for the archives and 7 GB for OUT, an estimate, which must be free before
# anything is fetched. Memory: 1.2 GB, for SentencePiece on its sample (benchmarks/README.md).
#
# No rule of the cleaning knows a language: invisible characters go; pairs are left out that are not UTF-8, blank, the
# same on both sides, repeated, less than half letters, or that have a word of over 100 characters. OUT/text has the
# rest, with counts in SOURCES.json; prepare-parallel.sh --clean makes the remainder of OUT of it (see its --help).
#
# Required:
#   --out DIR              the folder to make
# Options:
#   --archive-dir DIR      where the archives lie, and are fetched to if they do not, with the folder of sacrebleu in
#                          DIR/sacrebleu ($XDG_CACHE_HOME/fairseq_intra/wmt17). For a machine without network, run
#                          this on one that has it and copy DIR
#   --archives FILE        another list than data-prep/wmt17-archives.txt
#   --max-tokens N         most tokens of a side in train (250)
#   --max-ratio R          most tokens of one side for a token of the other in train (1.5)
#   --vocab-size N         pieces of the joint model (32000)
#   --spm-lines N          lines of train that the joint model is trained on (500000)
#   --character-coverage X share of the text's characters that the model knows (0.9995)
#   --workers N            processes to work with (all cores); the result does not depend on it
#   --python PATH          the Python that has fairseq
#   --help                 this text
#
# Repeated after an interruption, it goes on behind the last step that was finished, and in the middle of a download.
#
# Environment: FAIRSEQ_INTRA_PYTHON is what --python is when not given; XDG_CACHE_HOME (~/.cache) is where the
# archives lie when --archive-dir is not given; SACREBLEU, if set, is sacrebleu's folder; http_proxy and https_proxy
# are heeded.

set -euo pipefail
# shellcheck source=SCRIPTDIR/../scripts/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../scripts/lib.sh"
export PYTHONUTF8=1

out='' python_given=''
archive_dir=${XDG_CACHE_HOME:-${HOME:-.}/.cache}/fairseq_intra/wmt17
archives=$checkout/data-prep/wmt17-archives.txt
# What prepare-parallel.sh is told; a later flag overrides an earlier one.
passed_on=(--clean --max-tokens 250 --vocab-size 32000 --spm-lines 500000 --character-coverage 0.9995)

while (($#)); do
  case $1 in
    --help) usage; exit ;;
    --out | --archive-dir | --archives | --max-tokens | --max-ratio | --vocab-size | --spm-lines | \
      --character-coverage | --workers | --python) need_value "$@" ;;
    *) die "unknown argument '$1' (see $program --help)" ;;
  esac
  case $1 in
    --out) out=$2 ;;
    --archive-dir) archive_dir=$2 ;;
    --archives) archives=$2 ;;
    --python) python_given=$2 ;;
    *) passed_on+=("$1" "$2") ;;
  esac
  shift 2
done

need_out "$out"
[[ -f $archives ]] || die "--archives '$archives' is not a file"
find_python "$python_given"
export SACREBLEU=${SACREBLEU:-$archive_dir/sacrebleu}

helper() {
  local step=$1
  shift
  "$python" -- "$checkout/data-prep/prepare_wmt17_en_de.py" "$step" --archives "$archives" "$@" 8>&- 9>&-
}

work=''
trap 'rm -rf -- ${work:+"$work"}; remove_if_empty "$out"' EXIT

state=$(helper begin --out "$out")
if [[ $state == finished ]]; then
  say "text: done before"
else
  will_make "$out"
  make_folder --out "$out"
  lock_cache --archive-dir "$archive_dir"
  helper fetch --archive-dir "$archive_dir" --out "$out"
  unlock_cache
  make_text "$out" helper extract --archive-dir "$archive_dir"
fi

"$checkout/data-prep/prepare-parallel.sh" --input "$out/text" --src en --tgt de --out "$out" --python "$python" \
  "${passed_on[@]}"
