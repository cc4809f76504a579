"""The kernel's types, and the objects of these types in its memory."""
