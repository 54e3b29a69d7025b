#!/usr/bin/env bash
# BLEU against the share of parameters that are removed, those that contribute least first and most first, for one or
# several checkpoints: as a table and as a picture.
#
# Usage: scripts/pruning-curve.sh --checkpoint FILE [--checkpoint FILE ...] --data DIR --out DIR [options]
#          [scripts/evaluate.sh's flags...]
#
#   --checkpoint FILE  a model, as fairseq-train saved it
#   --data DIR         dataset made by data-prep/
#   --out DIR          NAME.sensitivity.json, NAME/ORDER-RATIO.test.json, pruning-curve.{md,json,png,svg}
#   --ratios "R ..."   shares to remove, 0 to 1 (default: "0 0.1 0.2 0.3 0.4 0.5 0.6 0.7 0.8 0.9")
#   --python PATH      interpreter that has fairseq (default: as scripts/train.sh)
#
# It is `fairseq-intra pruning-curve`.
# NAME is that of the run's folder (RUN/checkpoints/checkpoint_best.pt is RUN), with the file's name behind it where
# that is not checkpoint_best.pt. Sensitivity is computed on the validation split, BLEU on the test split by
# scripts/evaluate.sh, to which all other flags go: a model with much removed may never end a sentence, and
# --max-len-b 30 saves most of the time that this takes. Norms and biases stay. Repeated, finished points are skipped.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
become_command pruning-curve "$@"
