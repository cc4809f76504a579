"""Between Linux and PowerVM's firmware: RTAS calls, the dump memory structure, the register save area."""

from fadump.abi.pseries.register_save_area import CpuRegisters

__all__ = ["CpuRegisters"]
