"""The firmware: what it knows at a registration, does at a crash and says in the device tree."""
