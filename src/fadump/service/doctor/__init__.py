"""``fadump doctor``: would a crash now be saved? Looks at a Power system's files; changes and runs nothing.

:func:`~.examination.examine` does all of it. What to change where:

* how files are read, of the running system or of a tree copied from one: :mod:`.root`
* what is known of the system, each fact read once: :mod:`.machine`, :mod:`.savers`, and of our own service
  :mod:`.configuration`
* what is said of it, in the words of :mod:`.findings`: :mod:`.kernel_findings`, :mod:`.memory_findings`,
  :mod:`.saver_findings`, :mod:`.place_findings`
* the verdict: :mod:`.verdict`

It needs nothing but Python's own library, so that it runs on any Power system.
"""
