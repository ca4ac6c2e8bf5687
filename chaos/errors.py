"""What keeps a run from being one, as against what it finds."""


class ChaosFailed(Exception):
    """The run could not be made, and says nothing about the service."""
