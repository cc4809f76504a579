"""Many runs over kernels, machines and faults, on one computer or on a Dask cluster.

To change what a campaign's file may say go to :mod:`.matrix`, what a combination of values is as a command to
:mod:`.commands`, what a run has come to to :mod:`.outcome`, what is kept of it to :mod:`.results`.
"""
