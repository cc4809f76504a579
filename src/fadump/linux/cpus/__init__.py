"""The processors at the crash: which they are, their registers and stacks, their own variables."""
