#!/usr/bin/env bash
# Rounds of self-distillation: every round trains a fresh model on the targets and on the distributions of the
# model of the round before. Says of each how well it translates, and how evenly its parameters contribute.
#
# Usage: scripts/self-distillation.sh --data DIR --rounds R --out DIR [options] [scripts/train.sh's flags...]
#
#   --data DIR         dataset made by data-prep/
#   --rounds R         rounds after round 0, which has no teacher
#   --out DIR          roundN/ (see scripts/train.sh), roundN.sensitivity.json, rounds.md (the table)
#   --method METHOD    of round 0: plain or intra (default: plain)
#   --weight W         share of the loss that is distance to the teacher (default: 0.5)
#   --temperature T    of the distributions in that distance (default: 1)
#   --python PATH      interpreter that has fairseq (default: as scripts/train.sh)
#
# It is `fairseq-intra self-distill`. All other flags go to scripts/train.sh in every round: --preset, --updates, --seed, --dropout 0.2. The rounds after
# round 0 differ from plain training by their teacher alone, whatever --method made that one: with
# intra-distillation, whose passes teach each other, in every round, one could not tell which of the two did it.
# The test split is translated by each round's best checkpoint; sensitivity is that on the validation split.
# Repeated, finished rounds are skipped and an interrupted one resumes.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
become_command self-distill "$@"
