#!/usr/bin/env bash
# prepare-parallel.sh: sentence-aligned text, {train,valid,test}.{SRC,TGT}, to data for fairseq.
#
#   data-prep/prepare-parallel.sh --input TEXT --src de --tgt en --out DATA --lowercase --clean
#
# What each step makes is a folder in --out; README.md beside this script has their formats. Repeated, it resumes
# behind the last step that was finished; a finished folder is only checked.
# --python PATH is the interpreter that has fairseq (default: $FAIRSEQ_INTRA_PYTHON, else .venv of the checkout, else
# python3); the other flags are those of the command below.

set -euo pipefail
# shellcheck source=SCRIPTDIR/../scripts/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../scripts/lib.sh"

steps=(
  raw      # read as UTF-8, blank pairs of train left out; --clean by Moses' rule, --lowercase
  spm      # one SentencePiece model (unigram) of both sides of raw/train
  encoded  # its subwords of every split
  bin      # fairseq-preprocess, with one dictionary for both sides
)
become_command prepare parallel --steps "${steps[*]}" "$@"
