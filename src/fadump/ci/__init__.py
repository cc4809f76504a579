"""What a job in somebody's CI keeps of a command: JUnit's XML, and a directory of files with an index.

After a command's last step. What is told of it is what its JSON object has, and what was seen on the way:
:mod:`fadump.ci.record` gathers it, :mod:`fadump.ci.cases` takes it apart into test cases, :mod:`fadump.ci.junit` writes
those, and :mod:`fadump.ci.artifacts` the directory.
"""
