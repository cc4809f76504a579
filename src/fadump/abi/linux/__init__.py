"""What Linux's first kernel leaves in memory for its capture kernel."""
