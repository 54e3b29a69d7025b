#!/usr/bin/env bash
# prepare-parallel.sh: makes a folder that is ready for fairseq out of sentence-aligned text.
#
#   data-prep/prepare-parallel.sh --input DIR --src de --tgt en --out DIR [options]
#
# --input DIR holds {train,valid,test}.{SRC,TGT}, each plain or gzipped (.gz), UTF-8, line n of one side
# being the translation of line n of the other. --out DIR will hold
#
#   raw/            the text after the options below; raw/test.TGT is the reference to score against
#   spm/            joint.model and joint.vocab: one SentencePiece model (unigram) of both sides of raw/train
#   encoded/        the pieces of that model
#   bin/            the same for fairseq, with one dictionary for both sides
#   manifest.json   counts, checksums, versions and settings; written last, so where it is, all is finished
#
# Required:
#   --input DIR            the text
#   --src LANG             source language, as in the names of the files
#   --tgt LANG             target language
#   --out DIR              the folder to make
# Options:
#   --lowercase            lowercase every split, on both sides
#   --clean                leave out pairs of train by Moses' rule, counted in tokens of sacremoses. Valid and
#                          test are never cleaned: scores stay comparable
#   --max-ratio R          with --clean: most tokens of one side for a token of the other (1.5)
#   --min-tokens N         with --clean: fewest tokens of a side (1)
#   --max-tokens N         with --clean: most tokens of a side (175)
#   --vocab-size N         pieces of the joint model (12000)
#   --spm-lines N          lines, evenly spread over both sides of train, that the model is trained on (all): 500,000
#                          are enough for a large corpus, and keep that under 2 GB of memory
#   --character-coverage X share of the text's characters that the model knows (0.99999995)
#   --workers N            processes to work with (all cores); the result does not depend on it
#   --python PATH          the Python that has fairseq
#   --help                 this text
#
# Blank lines: a pair of train with a blank side is left out and counted; in valid and test it is an error.
# Line breaks of other kinds inside a line (U+2028, form feed ...) become spaces, and lines are stripped.
# Repeated after an interruption, it goes on behind the last step that was finished. A finished folder is
# only checked, and refused if other settings or another text are asked for than it was made with.
#
# Environment: FAIRSEQ_INTRA_PYTHON is what --python is when not given; without either, .venv/bin/python of
# the checkout or python3. Work in progress lies in OUT/.partial.*, what fairseq-preprocess said in OUT/preprocess.log.

set -euo pipefail
# shellcheck source=SCRIPTDIR/../scripts/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../scripts/lib.sh"
# Python's standard streams follow the locale, and paths and messages need not be ASCII.
export PYTHONUTF8=1

input='' src='' tgt='' out='' python_given=''
choices=() lowercase_or_clean=() spm_lines=()
max_ratio=1.5 min_tokens=1 max_tokens=175 vocab_size=12000 character_coverage=0.99999995
workers=$(nproc)

need_number() {
  [[ $2 =~ ^[0-9]*\.?[0-9]+$ ]] || die "$1 must be a number such as $3, not '$2'"
}

need_language() {
  [[ $2 =~ ^[A-Za-z][A-Za-z0-9_-]*$ ]] || die "$1 must be a language as in the names of the files, such as de, not '$2'"
}

while (($#)); do
  case $1 in
    --help) usage; exit ;;
    --lowercase) lowercase_or_clean+=("$1"); shift; continue ;;
    --clean) lowercase_or_clean+=("$1"); shift; continue ;;
    --input | --src | --tgt | --out | --max-ratio | --min-tokens | --max-tokens | --vocab-size | \
      --spm-lines | --character-coverage | --workers | --python) need_value "$@" ;;
    *) die "unknown argument '$1' (see $program --help)" ;;
  esac
  case $1 in
    --input) input=$2 ;;
    --src) need_language "$@"; src=$2 ;;
    --tgt) need_language "$@"; tgt=$2 ;;
    --out) out=$2 ;;
    --max-ratio) need_number "$1" "$2" 1.5; max_ratio=$2; choices+=("$1") ;;
    --min-tokens) need_count "$1" "$2"; min_tokens=$2; choices+=("$1") ;;
    --max-tokens) need_count "$1" "$2"; max_tokens=$2; choices+=("$1") ;;
    --vocab-size) need_count "$1" "$2"; vocab_size=$2 ;;
    --spm-lines) need_count "$1" "$2"; spm_lines=("$1" "$2") ;;
    --character-coverage) need_number "$1" "$2" 0.9995; character_coverage=$2 ;;
    --workers) need_count "$1" "$2"; workers=$2 ;;
    --python) python_given=$2 ;;
  esac
  shift 2
done

for flag in input src tgt; do
  [[ -n ${!flag} ]] || die "--$flag is missing (see $program --help)"
done
[[ $src != "$tgt" ]] || die "--src and --tgt are both '$src'; they must differ"
[[ -d $input ]] || die "--input '$input' is not a folder"
need_out "$out"
if ((${#choices[@]})) && [[ " ${lowercase_or_clean[*]} " != *" --clean "* ]]; then
  die "${choices[0]} has no effect without --clean"
fi
find_python "$python_given"

will_make "$out"
make_folder --out "$out"
lock_folder "$out"
work=''
# A run that fails before it has done anything leaves no folder behind.
cleanup() {
  [[ -z $work ]] || rm -rf -- "$work"
  if ((made_out)) && [[ ! -e $out/settings.json ]]; then
    rm -f -- "$out/.lock"
    remove_if_empty "$out"
  fi
}
trap cleanup EXIT
rm -rf -- "$out"/.partial.*
# A fresh name for every run: what a killed run's orphans may still write never mixes with the work of the next.
work=$(mktemp -d -- "$out/.partial.XXXXXX")

helper() {
  "$python" -- "$checkout/data-prep/prepare_parallel.py" "$@" 9>&-
}

# step NAME COMMAND...: makes OUT/NAME, unless it is there: the command fills a folder aside that then takes the name.
step() {
  local name=$1
  shift
  if [[ -e $out/$name ]]; then
    say "$name: done before"
    return
  fi
  say "$name ..."
  mkdir -- "$work/$name"
  "$@"
  publish "$work/$name" "$out/$name"
}

binarise() {
  local log=$out/preprocess.log
  "$python" -- "$checkout/data-prep/preprocess.py" --source-lang "$src" --target-lang "$tgt" \
    --trainpref "$out/encoded/train" --validpref "$out/encoded/valid" --testpref "$out/encoded/test" \
    --destdir "$work/bin" --joined-dictionary --padding-factor 1 --workers "$workers" >"$log" 2>&1 9>&- ||
    die_of fairseq-preprocess "$log"
  # It names folders of this run, so it would differ from one run to the next.
  rm -f -- "$work/bin/preprocess.log"
}

say "checking $input"
state=$(helper begin --input "$input" --src "$src" --tgt "$tgt" --out "$out" "${lowercase_or_clean[@]}" \
  --max-ratio "$max_ratio" --min-tokens "$min_tokens" --max-tokens "$max_tokens" \
  --vocab-size "$vocab_size" "${spm_lines[@]}" --character-coverage "$character_coverage")
if [[ $state == finished ]]; then
  say "$out is finished already, from the same text with the same settings"
  exit
elif [[ $state != new ]]; then
  say "$state"
fi

step raw helper raw --input "$input" --out "$out" --to "$work/raw" --workers "$workers"
step spm helper spm --out "$out" --to "$work/spm"
step encoded helper encoded --out "$out" --to "$work/encoded" --workers "$workers"
step bin binarise
helper finish --out "$out" --to "$work"
publish "$work/manifest.json" "$out/manifest.json"
say "finished: $out"
