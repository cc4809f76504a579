"""What a package has beside the commands: their man pages, and completions for bash, zsh and fish.

All of it is made from the commands' own parser, by :mod:`fadump.cli.described` and :mod:`fadump.cli.completions`, so
nothing is said twice.
"""
