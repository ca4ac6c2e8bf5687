"""Machines that are kept after their jobs, for their owners to look into.

vault      bytes on the disk that nobody reads or changes without the key
frozen     what a machine that stands still consists of, and where it is
keeping    a run promises a machine to its owner, and freezes it
sessions   several shells in one guest, over its one channel
keeper     the process in which a machine goes on while somebody looks into it
visits     how somebody gets to it
clearing   what crashes and time leave behind

    run ── keeping ──▶ frozen ◀──▶ keeper ◀── a socket ── visits ◀── the ssh gateway
"""
