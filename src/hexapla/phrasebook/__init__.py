"""The phrasebook: everyday sentences in many languages, generated from meanings by one small grammar per language.

`docs/phrasebook.md` says how it is built and how to add a language.
"""
