#!/usr/bin/env bash
# One of GLUE's tasks, or one's own in the same layout, ready for fairseq's task sentence_prediction.
#
# Usage: data-prep/prepare-glue.sh --input DIR --vocabulary DIR --out DIR [--task NAME] [--workers N] [--python PATH]
#
#   --input DIR       GLUE's folder of the task, as it is distributed: train.tsv and dev.tsv (MNLI: dev_matched.tsv)
#   --task NAME       CoLA SST-2 MRPC STS-B QQP MNLI QNLI or RTE (default: the name of the folder). Any other name is
#                     a task of classes, whose files have in their first line the columns sentence (or sentence1 and
#                     sentence2) and label
#   --vocabulary DIR  dict.txt, and encoder.json and vocab.bpe (RoBERTa's) or sentencepiece.bpe.model (XLM-R's)
#   --out DIR         input0/, input1/ where there are pairs of texts, label/, and manifest.json once it is finished
#   --workers N       processes of fairseq-preprocess (default: the number of cores)
#   --python PATH     interpreter that has fairseq (default: as scripts/train.sh)
#
# Nothing is downloaded. Lines with another number of columns than the first are left out and counted. Repeated, a
# finished folder is left as it is; one that was made from other files is refused.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../scripts/lib.sh"

input='' task='' vocabulary='' out='' workers=$(nproc) python_flag=''
while [[ $# -gt 0 ]]; do
  case $1 in
    --input) need_value "$@"; input=$2; shift 2 ;;
    --task) need_value "$@"; task=$2; shift 2 ;;
    --vocabulary) need_value "$@"; vocabulary=$2; shift 2 ;;
    --out) need_value "$@"; out=$2; shift 2 ;;
    --workers) need_value "$@"; need_count "$@"; workers=$2; shift 2 ;;
    --python) need_value "$@"; python_flag=$2; shift 2 ;;
    --help) usage; exit ;;
    *) die "unknown flag '$1' (see $program --help)" ;;
  esac
done
for flag in input vocabulary out; do
  [[ -n ${!flag} ]] || die "--$flag is missing (see $program --help)"
done
[[ -d $input ]] || die "--input '$input' is not a folder"
[[ -d $vocabulary ]] || die "--vocabulary '$vocabulary' is not a folder"
find_python "$python_flag"

parent=$(dirname -- "$out")
make_folder --out "$parent"
lock_folder "$parent"
work=$(mktemp -d -- "$parent/.glue.XXXXXX")
trap 'rm -rf -- "$work"' EXIT
"$python" "$checkout/data-prep/prepare_glue.py" --input "$input" --task "${task:-$(basename -- "$(cd -- "$input" && pwd)")}" \
  --vocabulary "$vocabulary" --out "$out" --to "$work" --workers "$workers"
[[ ! -e $work/manifest.json ]] || { chmod 755 "$work"; publish "$work" "$out"; }
