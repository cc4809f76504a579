"""Between Linux and PowerVM's firmware: RTAS calls, the dump memory structure, the register save area."""
