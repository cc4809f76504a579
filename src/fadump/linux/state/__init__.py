"""What the crashed system had and did: tasks, modules, memory, file systems, devices."""
