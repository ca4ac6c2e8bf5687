"""What ends a run of the benchmark."""


class MeasurementFailed(Exception):
    """Something that was to be measured did not happen as it must; says what."""
