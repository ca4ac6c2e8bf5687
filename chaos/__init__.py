"""Runs jobs while parts of the service are killed, cut off and frozen, and then checks from the
database, the logs, an independent witness and the process table that every promise was kept.

Each build host is a network namespace with a link of its own to the rest; nothing of it is to be
seen outside of the run. It needs root, an image that is built, and nothing else: `make chaos`.
"""
