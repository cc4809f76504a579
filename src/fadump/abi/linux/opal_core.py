"""What Linux puts into the notes of OPAL's core: arch/powerpc/platforms/powernv/opal-core.c."""

AT_ENTRY = 9
"""The only entry of its auxiliary vector: where OPAL is entered."""
PID_OF_PIR_0 = 100
"""pr_pid of the thread with PIR 0; the others' follow. gdb doesn't accept a process 0."""
SIGNAL_OF_KERNEL_CRASH = 10
"""pr_cursig of the crashing CPU if the kernel asked for the dump: SIGUSR1."""
SIGNAL_OF_OPAL_CRASH = 15
"""The same if OPAL ended by itself: SIGTERM."""
