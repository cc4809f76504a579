"""What fadump's own work costs: run a module with ``python -m benchmarks.NAME``; README.md has the figures."""
