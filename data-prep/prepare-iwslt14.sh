#!/usr/bin/env bash
# prepare-iwslt14.sh: IWSLT'14, any of its eight languages to English, from the archive to data for fairseq.
#
#   data-prep/prepare-iwslt14.sh --langs "de nl" [--archive 2014-01.tgz] --out IWSLT
#
# The text is made as the method's authors made theirs (fe1ixxu/Intra-Distillation, preprocess_iwslt14.sh), with
# sacremoses in place of Moses' Perl scripts. Repeated, it resumes after the last finished step, and in the
# middle of a download. The talks are licensed CC BY-NC-ND 3.0 by TED.
# --python PATH is the interpreter that has fairseq (default: $FAIRSEQ_INTRA_PYTHON, else .venv of the checkout, else
# python3); the other flags are those of the command below.

set -euo pipefail
# shellcheck source=SCRIPTDIR/../scripts/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../scripts/lib.sh"

steps=(
  archive  # fetched, or --archive; read to its end; its SHA-256 is that of the first time
  text     # train: what is spoken, titles and descriptions of the talks, in Moses' tokens; pairs of 1 to 175 tokens
           #   a side and a ratio of at most 1.5 are kept, lowercased and detokenised
           # valid: every 23rd pair of these
           # test: TED.dev2010, TEDX.dev2012 (where it exists), TED.tst2010, tst2011, tst2012; lowercased, ’ is '
  raw      # the same text without blank lines: what is learned, and the reference to score against
  spm      # one SentencePiece model of both sides of train, 12,000 types (--vocab-size)
  encoded  # its subwords of every split
  bin      # fairseq-preprocess, with one dictionary for both sides
)
become_command prepare iwslt14 --steps "${steps[*]}" "$@"
