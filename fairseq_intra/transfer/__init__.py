"""Zero-shot cross-lingual transfer: an encoder fine-tuned on one language, tested on others (paper, section 5)."""

#: What can be transferred: named entities, or natural language inference.
KINDS = ("ner", "xnli")
