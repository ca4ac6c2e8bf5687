"""The steps that bring an older database to the shape of schema.sql, run by buildsrht.database.

To add one: change schema.sql, and write `versions/r0002_what_it_does.py` with the same change as
SQL text that never changes again. A test holds the two equal. A step runs while the previous
release still serves: add and fill in one release, remove in a later one. There is no way back but
a backup, so there is no `downgrade`.
"""
