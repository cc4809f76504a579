"""Guest memory and what describes it: address ranges, memory in mapped files, the flattened device tree."""
