"""Machines: what firmware and kernel run on. ``core`` is the contract, ``qemu`` runs real Linux."""
