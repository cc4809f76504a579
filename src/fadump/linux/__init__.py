"""What a dump says about the Linux in it: VMCOREINFO, addresses, symbols, log, CPUs, pages."""
