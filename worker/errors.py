"""What can go wrong on a build host while a job runs.

RunnerError (of BuildsError)
├── GuestLost        the virtual machine is gone; carries why, as far as its console tells
├── BootTimeout      it never answered; carries the end of its console
├── GuestRefused     the guest's system refused a file: no such path, no space, a directory
└── ImageMissing     this build host has not built the image

A job that meets one fails, and its log says the message.
"""

from buildsrht.errors import BuildsError


class RunnerError(BuildsError):
    """Something between the manifest and its result broke."""


class GuestLost(RunnerError):
    """The machine went away in the middle of its work. Says why, if its channel told; else it is
    empty, and the machine's console may know."""


class BootTimeout(RunnerError):
    """The machine did not get as far as answering."""


class GuestRefused(RunnerError):
    """The guest answered, and the answer was no."""


class ImageMissing(RunnerError):
    """The image is known, but not built here."""
