"""A bilingual phrase book: made-up reviews in English, Spanish, Indonesian and Swahili, from templates and word lists.

It replaces real data where none may be shipped or fetched: in the demonstration and in tests. The words that carry
the label are divided among train, dev and test. So a model can label the test part of a language only if it knows these
words, or their translations, from elsewhere.
"""

from crossflare.tasks.phrasebook.sentences import TASK, lexicon, phrasebook

__all__ = ["TASK", "lexicon", "phrasebook"]
