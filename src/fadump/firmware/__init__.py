"""The firmware: what it accepts at a registration, does at a crash and writes into the device tree."""
