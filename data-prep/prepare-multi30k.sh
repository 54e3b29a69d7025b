#!/usr/bin/env bash
# prepare-multi30k.sh: Multi30k, English to German, French or Czech, from its repository to data for fairseq.
#
#   data-prep/prepare-multi30k.sh --langs "de fr" [--input dataset-master.tar.gz] --out MULTI30K
#
# As published figures have it (arXiv 2105.14462): lower-cased, normalised, tokenised text, 10,000 merges of joint byte
# pair encoding by subword-nmt (scripts/install.sh brings it; elsewhere pip install 'CHECKOUT[multi30k]'), one
# dictionary. The captions are under Flickr's terms of use.
# Repeated, it resumes after the last finished step, and in the middle of a download.
# --python PATH is the interpreter that has fairseq (default: $FAIRSEQ_INTRA_PYTHON, else .venv of the checkout, else
# python3); the other flags are those of the command below.

set -euo pipefail
# shellcheck source=SCRIPTDIR/../scripts/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../scripts/lib.sh"

steps=(
  archive  # github multi30k/dataset, fetched, or --input: a folder of it, or its .tar.gz
  text     # train, valid (val), test (test_2016_flickr), test1 (test_2017_flickr), test2 (test_2017_mscoco) of
           #   data/task1/tok; of data/task1/raw where that is missing, by sacremoses
  raw      # without blank lines: what is learned, and the reference to score against
  bpe      # merges of English and the other language together
  encoded  # its subwords of every split
  bin      # fairseq-preprocess, with one dictionary for both sides: 9,708 types for German
)
become_command prepare multi30k --steps "${steps[*]}" "$@"
