"""A machine in memory, which runs the model of Linux: nothing needs to be installed, and a boot takes no time."""
