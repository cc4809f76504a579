"""Between Linux and OPAL: MPIPL calls and their metadata, CPU data, and limits of skiboot's tables for the SBE."""
