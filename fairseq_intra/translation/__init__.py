"""Translating text with a trained model. Nothing is imported here, so that CTranslate2 runs without torch."""
