#!/usr/bin/env bash
# prepare-wmt17-en-de.sh: WMT'17 English to German, from the official archives to data for fairseq.
#
#   data-prep/prepare-wmt17-en-de.sh --out WMT [--archive-dir DIR]
#
# Train is what these have, about 4.5 million pairs (SHA-256 in fairseq_intra/data/wmt17-archives.txt):
#
#   www.statmt.org/wmt13/training-parallel-europarl-v7.tgz                  658 MB   Europarl v7
#   www.statmt.org/wmt13/training-parallel-commoncrawl.tgz                  918 MB   Common Crawl
#   data.statmt.org/wmt17/translation-task/training-parallel-nc-v12.tgz     169 MB   News Commentary v12
#
# Disk: 1.8 GB for the archives and 7 GB for --out, an estimate, which must be free before anything is fetched.
# Repeated, it resumes after the last finished step, and in the middle of a download.
# --python PATH is the interpreter that has fairseq (default: $FAIRSEQ_INTRA_PYTHON, else .venv of the checkout, else
# python3); the other flags are those of the command below.

set -euo pipefail
# shellcheck source=SCRIPTDIR/../scripts/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../scripts/lib.sh"

steps=(
  archives # fetched if they are not there, and checked
  text     # train: invisible characters go; pairs are left out that are not UTF-8, blank, the same on both sides,
           #   repeated, less than half letters, or that have a word of over 100 characters
           # valid: newstest2013; test: newstest2014 (sacreBLEU's wmt14/full); newstest2017 stays in text/
  raw      # pairs of 1 to 250 tokens a side and a ratio of at most 1.5 (--max-tokens, --max-ratio)
  spm      # one SentencePiece model of 500,000 lines of train, 32,000 types (--spm-lines, --vocab-size)
  encoded  # its subwords of every split
  bin      # fairseq-preprocess, with one dictionary for both sides
)
become_command prepare wmt17 --steps "${steps[*]}" "$@"
