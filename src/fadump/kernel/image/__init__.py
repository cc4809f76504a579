"""What is in the model kernel's memory for readers of its dump. What to change where:

* a variable that readers look up: :mod:`.variables`, and its symbol: :mod:`.kallsyms`
* a key of VMCOREINFO: :mod:`.vmcoreinfo`
* how virtual addresses are translated: :mod:`.page_tables`
* what a page is used for: :mod:`.page_mix`, and how its struct page shows it: :mod:`.page_layout`, :mod:`.struct_pages`
* what the CPUs were doing: :mod:`.stacks`
* the bytes in all other memory: :mod:`.content`
"""
