"""How this host's processes are told apart."""


def start_time(pid: int) -> int | None:
    """When a process started, in the kernel's ticks; None when there is no such process.

    With the pid it names one process for ever: pids are reused, this pair is not.
    """
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            # The command name, in parentheses, may itself hold spaces and parentheses.
            fields = file.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # A zombie holds nothing any more; only its number is still taken.
    return None if fields[0] == "Z" else int(fields[19])
