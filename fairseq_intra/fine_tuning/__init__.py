"""Fine-tuning an encoder with a head on it: classification and regression of texts, labels of words, question
answering."""
