"""Marks: where a log was, and when."""

from hypothesis import given
from hypothesis import strategies as st

from buildsrht.marks import MARK, MILLISECONDS, SPACING, Marker, Marks

WRITES = st.lists(st.tuples(st.binary(max_size=40), st.integers(0, 50)), max_size=60)


def marked(writes):
    """A log that came in these pieces, each so many milliseconds after the one before."""
    marker, log, packed, time, times = Marker(), b"", b"", 1_000_000, []
    for data, pause in writes:
        time += pause
        packed += marker.mark(data, time)
        times += [time] * len(data)
        log += data
    return log, Marks(packed), times


@given(WRITES)
def test_every_line_is_found_behind_a_mark_that_is_not_in_it(writes):
    log, marks, _ = marked(writes)
    begins = [0, *(place + 1 for place, byte in enumerate(log) if byte == 10)]

    for number, begin in enumerate(begins, 1):
        offset, ends = marks.before_line(number)

        assert offset <= begin
        assert log.count(b"\n", 0, offset) == ends
        assert ends < number


@given(WRITES)
def test_every_byte_has_the_time_of_its_write_or_nearly(writes):
    _, marks, times = marked(writes)

    for offset, time in enumerate(times):
        assert time - MILLISECONDS < marks.time_at(offset) <= time


def test_many_small_writes_have_few_marks():
    marker = Marker()

    packed = b"".join(marker.mark(b"x", write // 100) for write in range(100_000))

    assert len(packed) // MARK.size == 100


def test_much_that_is_written_at_once_has_a_mark_from_time_to_time():
    marker = Marker()

    marks = [marker.mark(b"x" * 1024, 5) for _ in range(256)]

    assert len([mark for mark in marks if mark]) == 256 * 1024 // SPACING


def test_a_clock_that_is_set_back_marks_anew():
    marker = Marker()
    marks = Marks(marker.mark(b"a\n", 5000) + marker.mark(b"b\n", 4000))

    assert [marks.time_at(offset) for offset in (0, 2)] == [5000, 4000]


def test_a_log_without_marks_is_read_from_its_beginning():
    marks = Marks()

    assert (marks.before_line(4711), marks.last(), marks.time_at(3)) == ((0, 0), (0, 0), None)


def test_a_mark_that_is_torn_is_none():
    marks = Marks(MARK.pack(0, 0, 7) + MARK.pack(9, 1, 8)[:-3])

    assert marks.last() == (0, 0)
