"""What can go wrong on a build host while a job runs.

RunnerError (of BuildsError)
├── GuestLost        the virtual machine is gone; carries why, as far as its console tells
│   └── MachineKilled    and nothing in it ended it
├── BootTimeout      it never answered; carries the end of its console
├── GuestRefused     the guest's system refused a file: no such path, no space, a directory
├── MonitorError     QEMU did not save or restore a machine
├── SnapshotBroken   a saved machine is damaged, or does not come back to life
└── ImageMissing     this build host has not built the image

A job that meets one fails, and its log says the message. Which of them are the build's own fault,
and which are a reason to begin the job again, worker.run_job says.
"""

import subprocess
from typing import NamedTuple

from buildsrht.errors import BuildsError


class RunnerError(BuildsError):
    """Something between the manifest and its result broke."""


class GuestLost(RunnerError):
    """The machine went away in the middle of its work. Says why, if its channel told; else it is
    empty, and the machine's console may know."""


class MachineKilled(GuestLost):
    """QEMU or its keeper was ended from outside, or ended badly."""


class Loss(NamedTuple):
    """Why a machine is gone, whether nothing in it ended it, and what its kernel said of that."""

    reason: str
    was_killed: bool
    report: str = ""


class BootTimeout(RunnerError):
    """The machine did not get as far as answering."""


class GuestRefused(RunnerError):
    """The guest answered, and the answer was no."""


class MonitorError(RunnerError):
    """QEMU refused or failed what its monitor was told, or is gone."""


class SnapshotBroken(RunnerError):
    """What was saved cannot be used; nothing but the time to make it anew is lost."""


class ImageMissing(RunnerError):
    """The image is known, but not built here."""


# What may go wrong where this host does something for itself, a full disk included.
TROUBLE = (RunnerError, OSError, subprocess.SubprocessError)
