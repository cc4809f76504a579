"""``fadump size``, measured: how much boot memory somebody's system needs to save its dump.

``probe`` is one crash with so much boot memory, ``touched`` what the capture boot touches of it, ``search`` the way to
the least, ``measure`` has all of it together. What is predicted from that is :mod:`fadump.kernel.plan.need`.
"""
