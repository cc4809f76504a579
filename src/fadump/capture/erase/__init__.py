"""Erasing secrets while a dump is saved: ``fadump save --erase RULES``.

To change which keys a rule has, go to :mod:`.rules`; what they lead to in memory is found in :mod:`.pieces`; the dump
without it, and all that follows from that, is :mod:`.erased`; copies in notes are :mod:`.scrub`'s.
"""
