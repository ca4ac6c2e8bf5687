"""The verbs: what users, operators and build hosts can do, and every query they need.

A service takes a Backend (and the User who asks), does one thing in one transaction, and returns
rows or raises one of buildsrht.errors. None knows HTTP, the command line or a VM.
"""
