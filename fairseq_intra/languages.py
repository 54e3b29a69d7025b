"""Languages by the corpora that have them."""

#: IWSLT'14, each translated to English: the rows of the paper's table.
IWSLT14 = ("ar", "de", "es", "fa", "he", "it", "nl", "pl")
