"""Translating one's own text with a trained model; nothing is imported here, so that CTranslate2 runs without torch."""
