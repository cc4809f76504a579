"""Pictures of memory as SVG: maps to scale with what is small magnified, and bars of shares.

After the last step of "follow one crash" in docs/architecture.md: ``fadump plan --svg`` and ``fadump report`` draw with
this. To change a colour or a hatch, go to :mod:`fadump.picture.paint`; a map's parts, :mod:`fadump.picture.map`; bars,
:mod:`fadump.picture.shares`.
"""
