"""`make bench`: how fast this checkout is on this machine, in one run.

Everything that is compared is measured in the same run, so a ratio says something on any machine.
A measurement that goes wrong ends the program: there are no figures of jobs that failed. Knows
nothing of tests; a missed target is printed, and is no error.
"""
