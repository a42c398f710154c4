"""A batch runs all of its cases, and fails with the names of those that failed."""

import pytest

from tests.support.batches import SIZE, Batch, batches


def test_every_case_is_in_one_batch_of_its_key():
    cases = [(key, number) for number in range(SIZE + 3) for key in "ab"]
    made = batches(cases, key=lambda case: case[0])
    assert sorted(case for batch in made for case in batch.cases) == sorted(cases)
    assert [str(batch) for batch in made] == ["a 1 of 2", "a 2 of 2", "b 1 of 2", "b 2 of 2"]
    assert all({key for key, _ in batch.cases} == {batch.key} for batch in made)


def test_a_failure_names_its_case_and_the_others_run_all_the_same():
    ran = []

    def check(case):
        ran.append(case)
        assert case % 2 == 0

    with pytest.raises(ExceptionGroup, match="2 of 4 cases fail: numbers 1 of 1") as raised:
        Batch("numbers", 1, 1, (1, 2, 3, 4)).check(check)
    assert ran == [1, 2, 3, 4]
    assert [failure.__notes__ for failure in raised.value.exceptions] == [["case: 1"], ["case: 3"]]


def test_a_skip_skips_the_whole_batch():
    with pytest.raises(pytest.skip.Exception):
        Batch("numbers", 1, 1, (1, 2)).check(lambda case: pytest.skip("no kernel"))
