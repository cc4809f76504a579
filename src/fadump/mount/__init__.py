"""The embedded machine as a tree of files, mounted, and a shell in which they are at their absolute paths."""
