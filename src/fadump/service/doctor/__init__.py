"""``fadump doctor``: would a crash now be saved? Looks at a Power system's files, changes nothing, runs nothing.

:func:`~.examination.examine` does all of it. What to change where:

* how files are read, of the running system or of a tree copied from one: :mod:`.root`
* what is known of the system, each fact read once: :mod:`.machine`, :mod:`.savers`
* what is said of it: :mod:`.kernel_findings`, :mod:`.memory_findings`, :mod:`.saver_findings`, in the words of
  :mod:`.findings`
* the verdict: :mod:`.verdict`

It needs nothing but Python's own library, so that it runs on any Power system.
"""
