"""What a vmlinux and its debug information say, and where a computer has them."""
