"""Linux's side of FADump as a model, without firmware or machine. Begin with :mod:`.model`.

What to change where:

* what is reserved, how much and why: :mod:`.plan`
* the steps of a boot: :mod:`.register`, :mod:`.crash`, :mod:`.capture_boot`, :mod:`.release`
* the calls of a platform, and what their statuses mean to Linux: :mod:`.rtas_fadump`, :mod:`.opal_fadump`
* the crash-info header, the ELF core header, /proc/vmcore: :mod:`.crash_info`, :mod:`.elfcorehdr`, :mod:`.vmcore`
* what is in memory for readers of a dump: :mod:`.image`
* files of /proc and /sys: :mod:`.files`
* a difference between two versions of Linux: :mod:`.traits`
"""
