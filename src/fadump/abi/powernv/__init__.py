"""Between Linux and OPAL: MPIPL calls and their metadata, CPU data, and the tables that skiboot shares with the SBE."""
