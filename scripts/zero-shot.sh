#!/usr/bin/env bash
# Zero-shot cross-lingual transfer: fine-tunes a multilingual encoder on one language and tests it on all others, plain
# beside intra-distillation, over seeds, to a table by language.
#
# Usage: scripts/zero-shot.sh --task TASK --input DIR --pretrained DIR --out DIR [options] [fairseq-train's flags...]
#
#   --task TASK       ner: named entities, entity-level F1; xnli: pairs of sentences, accuracy; qa:
#                     extractive question answering, F1 and exact match
#   --input DIR       ner: LANG/{train,dev,test} as in WikiANN's archives (a word, a tab or space, its tag; IOB2);
#                     xnli: XNLI-1.0/xnli.{dev,test}.tsv and XNLI-MT-1.0/multinli/multinli.train.en.tsv, as unpacked;
#                     qa: TyDiQA-GoldP (as XTREME or Google has it), XQuAD beside SQuAD v1.1's train-v1.1.json and
#                     dev-v1.1.json, or LANG/{train,dev,test}.json, all in SQuAD v1.1's JSON
#   --pretrained DIR  an archive of fairseq's, unpacked: model.pt, dict.txt, and sentencepiece.bpe.model (xlmr.base) or
#                     encoder.json and vocab.bpe (roberta.base)
#   --out DIR         data/, the runs as METHOD.seedN/, logs/ and table.md
#   --source LANG     the language trained on (default: en)
#   --langs LIST      languages tested, as a quoted list (default: all whose test is there)
#   --methods LIST    of plain, rdrop (R-Drop), intra and late, as a quoted list (default: plain intra)
#   --seeds LIST      random seeds, as a quoted list (default: 1)
#   --epochs N        of each training (default: 10 for ner, 3 for xnli, 15 for qa)
#   --batch N         examples of an update, over all GPUs of a run (default: 32)
#   --max-seq-length, --doc-stride, --max-query-length N
#                     of qa's windows, in subwords (default: 384, 128 and 64)
#   --gpus LIST       indices of GPUs, such as 0,1,2 (default: all; without a GPU the CPU)
#   --gpus-per-run N  GPUs that work on one run together (default: 1)
#   --jobs N          runs in parallel on each GPU, or on the CPU (default: 1)
#   --list, --table   for other schedulers: print one command a run; make the table of what is finished
#   --python PATH     interpreter that has fairseq (default: as scripts/train.sh)
#
# It is `fairseq-intra grid transfer`, whose --help says the rest. All other flags go to fairseq-train: --arch
# roberta_large, --lr 1e-5, --dropout 0.2; those of the method (--num-iter, --alpha, --div, --passes) to the runs
# of intra-distillation alone, which have K = 3 and alpha = 1. The encoder is roberta_base with dropout 0.1, and learns
# with Adam at 2e-5, which rises for 6 % of all updates and then falls to 0; the checkpoint that is best on the dev set
# of the language trained on is tested. qa has the authors' settings: 3e-5, 500 updates of warm-up, weight decay 1e-4,
# the last checkpoint; their alpha of 1 weighs the divergence as --alpha 8 does here.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
become_command grid transfer "$@"
