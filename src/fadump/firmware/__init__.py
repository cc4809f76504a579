"""The firmware: what it accepts at registration, does at a crash and writes to the device tree."""
