"""For any bytes in a file, its reader returns or raises a TinyCNNError, within limits of memory and time."""

import time
import tracemalloc
from operator import itemgetter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.fuzz_targets import TARGETS, Target, corpus
from tests.support.batches import Batch, batches

MOST_BYTES = 30 << 20  # valid files have a few hundred bytes, those of the corpus up to four thousand
MOST_SECONDS = 5.0
RECORDED = batches(((name, data) for name in TARGETS for data in corpus(name)), itemgetter(0))
numbers = st.integers(0, 10_000)
edits = st.lists(
    st.tuples(st.just("set"), numbers, st.integers(0, 255))
    | st.tuples(st.just("cut"), numbers, st.integers(1, 20))
    | st.tuples(st.just("repeat"), numbers, st.integers(1, 20))
    | st.tuples(st.just("insert"), numbers, st.integers(0, 50))
    | st.tuples(st.just("end"), numbers, st.just(0)),
    min_size=1,
    max_size=5,
)


def edited(data: bytes, changes: list[tuple[str, int, int]], words: tuple[str, ...]) -> bytes:
    """``data`` after changes: a byte set, a part deleted or repeated, a token inserted, or the end cut off."""
    for kind, place, argument in changes:
        at = place % (len(data) + 1)
        match kind:
            case "set":
                data = data[:at] + bytes([argument]) + data[at + 1 :]
            case "cut":
                data = data[:at] + data[at + argument :]
            case "repeat":
                data = data[: at + argument] + data[at:]
            case "insert" if words:
                word = words[argument % len(words)].encode().decode("unicode_escape").encode("latin1")
                data = data[:at] + word + data[at:]
            case "end":
                data = data[:at]
    return data


def run_within_limits(target: Target, data: bytes, folder) -> str:
    tracemalloc.start()
    start = time.process_time()
    try:
        outcome = target.run(data, folder)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < MOST_BYTES
    assert time.process_time() - start < MOST_SECONDS
    return outcome


@pytest.mark.parametrize("name", TARGETS)
def test_seed_files_are_valid(name, tmp_path):
    assert [run_within_limits(TARGETS[name], data, tmp_path) for data in TARGETS[name].seeds] == ["read"] * len(
        TARGETS[name].seeds
    )


@pytest.mark.parametrize("batch", RECORDED, ids=str)
def test_corpus_inputs_are_read_or_raise(batch: Batch, tmp_path):
    def check(case):
        name, data = case
        outcome = run_within_limits(TARGETS[name], data, tmp_path)
        assert outcome == "read" or str(tmp_path) in outcome

    batch.check(check)


@pytest.mark.parametrize("name", TARGETS)
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(first=numbers, changes=edits)
def test_mutated_valid_files_are_read_or_raise(name, first, changes, tmp_path_factory):
    target, folder = TARGETS[name], tmp_path_factory.getbasetemp()
    data = edited(target.seeds[first % len(target.seeds)], changes, target.words)
    outcome = run_within_limits(target, data, folder)
    assert outcome == "read" or str(folder) in outcome


def test_the_limits_detect_other_errors_and_memory(tmp_path):
    """A reader that raises another exception or takes too much memory fails."""
    with pytest.raises(ZeroDivisionError):
        run_within_limits(Target(lambda path: 1 / 0, "", ()), b"", tmp_path)
    with pytest.raises(AssertionError):
        run_within_limits(Target(lambda path: bytearray(MOST_BYTES + 1), "", ()), b"", tmp_path)
