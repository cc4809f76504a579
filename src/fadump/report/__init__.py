"""A crash report for people, from a dump alone: one story, told as an HTML page or as text.

After the last step of "follow one crash" in docs/architecture.md. What is told, and in which order, is in
:mod:`fadump.report.sections`; who is to blame, :mod:`fadump.report.verdict`; what isn't told,
:mod:`fadump.report.redact`; how a story looks, :mod:`fadump.report.html` and :mod:`fadump.report.text`.
"""
