"Full disks and killed jobs: the small run of `python -m tests.faults_disk`."

import pytest
from faults_disk import WORK, break_writes, kill_batches


@pytest.mark.parametrize("name", WORK)
def test_a_full_disk_is_said_and_leaves_what_was_there_or_whole_files(name):
    most = 1 if name == "evaluate" else 2  # of its writes; it computes for longer
    assert break_writes([name], most) == {name: most}


def test_a_batch_job_that_is_killed_goes_on_and_each_file_is_as_it_should_be():
    counts = kill_batches(2)
    assert counts["kills"] == 2 and counts["jobs finished"] >= 1
