"""Text and labels from their sources to datasets that fairseq reads: what `fairseq-intra prepare` does."""
