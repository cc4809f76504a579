"""What a kernel reserves, from its command line and the machine's memory: pure functions, with reasons for all numbers.

:func:`~.plan.make_plan` does all of it. What to change where:

* how the command line is read: :mod:`.cmdline`
* the size of boot memory: :mod:`.boot_memory`
* the address and the parts of the reserved dump area: :mod:`.reserve`
* what a capture kernel reserves: :mod:`.capture_kernel`
* what is reserved for kdump without FADump: :mod:`.kdump`
* the crashkernel= that distributions recommend: :mod:`.recommended`
* a machine's memory: :mod:`.memory_map`, from a device tree (:mod:`.system`), a text (:mod:`.map_text`) or a file
  (:mod:`.read_memory`)
* how a plan is drawn: :mod:`.drawing`
"""
