"""What an administrator installs: a crash is saved in the capture boot, and the boot goes on.

``fadump capture`` is :func:`fadump.service.capture.capture`, the first function to read. Where to change what:

* a setting, its default and what is allowed: :mod:`~fadump.service.config`, and its line in ``data/fadump.toml``;
* where a dump goes: a module in :mod:`fadump.service.targets`, and a line in ``targets/kinds.py``;
* where a system's files are: :mod:`~fadump.service.root`.
"""
