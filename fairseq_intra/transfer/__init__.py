"""Zero-shot cross-lingual transfer: an encoder fine-tuned on one language, tested on others (paper, section 5)."""

#: What can be transferred, as --task takes it: named entities, natural language inference, or question answering.
TASKS = ("ner", "xnli", "qa")
