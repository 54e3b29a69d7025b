#!/usr/bin/env bash
# GLUE: fine-tunes a checkpoint on every task, plain and with intra-distillation, over seeds, and makes the table.
#
# Usage: scripts/glue.sh --glue DIR --checkpoint FILE --out DIR [options] [flags of scripts/finetune.sh...]
#
#   --glue DIR        GLUE as it is distributed: <task>/train.tsv and dev.tsv (MNLI: dev_matched.tsv)
#   --checkpoint FILE model.pt of fairseq's archive roberta.base, or of another model; none: from scratch
#   --out DIR         data/<task>/, the runs as <task>.<method>.seed<N>/, logs/ and table.md
#   --vocabulary DIR  dict.txt, and encoder.json and vocab.bpe, or sentencepiece.bpe.model (default: the checkpoint's
#                     folder; RoBERTa's archives have the first alone, the other two are published beside them)
#   --tasks LIST      of the 8, as a quoted list (default: all), or names of one's own tasks in the same layout
#                     (data-prep/prepare-glue.sh --help)
#   --methods LIST    of plain, rdrop (R-Drop), intra and late, as a quoted list (default: plain intra)
#   --seeds LIST      random seeds, as a quoted list (default: "1 2 3")
#   --gpus LIST       indices of GPUs, such as 0,1,2 (default: all; without a GPU the CPU); each run has one
#   --jobs N          runs in parallel on each GPU, or on the CPU (default: 1)
#   --list, --table   for other schedulers: print one command a run; make the table of what is finished
#   --python PATH     interpreter that has fairseq (default: as scripts/train.sh)
#
# It is `fairseq-intra grid glue`, whose --help says the rest. All other flags go to scripts/finetune.sh: --epochs 3
# --arch roberta_large --lr 2e-5; those of the method, such as --num-iter and --alpha, to the runs of
# intra-distillation alone. Nothing is downloaded.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
become_command grid glue "$@"
