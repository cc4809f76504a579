"""What a distribution's package has beside the commands: their man pages, and completions for bash, zsh and fish.

All of it is made from the commands' own parser, so nothing is said twice.
"""
