"""Machines: what firmware and kernel run on. ``contract`` is the contract, ``qemu`` runs real Linux."""
