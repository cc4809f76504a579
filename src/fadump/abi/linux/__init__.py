"""Structures of Linux that a crashed kernel leaves in memory."""
