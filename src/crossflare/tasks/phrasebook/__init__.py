"""A bilingual phrase book: made-up reviews in English, Spanish, Indonesian and Swahili, from templates and word lists.

It stands in for real data where none may be shipped or fetched: in the demonstration and in tests. The words that carry
the label are divided among train, dev and test, so that a model can label the test part of a language only through
what it knows of these words, or of their translation, from elsewhere.
"""

from crossflare.tasks.phrasebook.sentences import TASK, lexicon, phrasebook

__all__ = ["TASK", "lexicon", "phrasebook"]
