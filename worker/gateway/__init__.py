"""The ssh gateway: users of this service, by their public keys, at the machines of their jobs.

    server.py     listens, says who comes in, and how many
    session.py    one channel of a client: its bytes, its terminal, how it ends
    commands.py   what a client may ask for: connect, tail, submit
    tail.py       a job's logs, to their end
    visit.py      a session inside a kept machine, through the process that keeps it

It knows no machine: whoever keeps one is asked for a socket, and speaks the frames of
worker/kept/hosting.py.
"""
