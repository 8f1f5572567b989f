"""What disks and killers do to us, for real: SIGKILL at random moments of a batch job,
and a disk that is full at each write of a fetch, a training, a batch job and an
evaluation. It prints what held, and ends at the first thing that did not.

    python -m tests.faults_disk --batch-kills 200

The disk is a small one in memory (tmpfs) where we may mount one, as root on Linux; else
the system limits the size of files. Nothing is imitated inside Python.
"""

import argparse
import logging
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from movierec.batch import plan_job, run_job
from movierec.config import MovierecError, load_config
from movierec.evaluation import evaluate_version
from movierec.fetch import fetch, read_folder
from movierec.training import train

PAGE = 4096  # bytes: a disk in memory has room for whole pages
USERS, MOVIES, GENRES = 60, 40, 19


def write_data(folder):
    "MovieLens 100k in the small: other people, other films, the same format."
    chance = random.Random(0)
    ratings = [
        f"{user}\t{movie}\t{chance.randint(1, 5)}\t{880000000 + user}\n"
        for user in range(1, USERS + 1)
        for movie in chance.sample(range(1, MOVIES + 1), 12)
    ]
    chance.shuffle(ratings)
    movies = [
        f"{movie}|Film {movie} ({1950 + movie})|01-Jan-{1950 + movie}||nowhere|"
        + "|".join(str(int((movie + 2) % GENRES in (g, g + 1))) for g in range(GENRES))
        for movie in range(1, MOVIES + 1)
    ]
    users = [f"{user}|30|F|other|00000" for user in range(1, USERS + 1)]
    folder.mkdir(parents=True)
    (folder / "u.data").write_text("".join(ratings))
    for name, lines in (("u.item", movies), ("u.user", users)):
        (folder / name).write_text("".join(f"{line}\n" for line in lines))


def settings(home):
    "The settings for that data, with models beside it."
    return load_config(
        data={"dir": home / "data", "verify": False, "makers": False},
        model={"dir": home / "artifacts"},
        similarity={"methods": ["cosine", "jaccard", "liked"]},
        taste={"factors": 4, "sweeps": 1, "least_ratings": 1},
    )


def contents(folder):
    "The content of each file below a folder, half ones included."
    paths = sorted(folder.rglob("*")) if folder.exists() else []
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in paths
        if path.is_file()
    }


# A disk without room


def mount(folder):
    "Mount a disk in memory, if we may."
    command = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)]
    try:
        return subprocess.run(command, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


@contextmanager
def small_disk() -> Iterator[tuple[Path, bool]]:
    "A folder, and whether it is a disk of its own, of 64 MB."
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "disk"
        folder.mkdir()
        mounted = mount(folder)
        try:
            yield folder, mounted
        finally:
            if mounted:
                subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def little_room(disk, mounted, room):
    "Leave `room` bytes on the disk; or, if it is not our own, in each file."
    ballast = disk / "ballast"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        if mounted:
            about = os.statvfs(disk)
            with ballast.open("wb") as file:
                free = about.f_bavail * about.f_frsize
                os.posix_fallocate(file.fileno(), 0, free - room)
        else:
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        ballast.unlink(missing_ok=True)


def rooms(folder, before, mounted):
    "For each file that is new in `folder`, how much room breaks off its writing."
    new = [
        path
        for path in folder.rglob("*")
        if path.is_file()
        and before.get(str(path.relative_to(folder))) != path.read_bytes()
    ]
    new.sort(key=lambda path: path.stat().st_mtime_ns)
    written, found = 0, []
    for size in (path.stat().st_size for path in new):
        if mounted:
            found.append(written + size // 2 // PAGE * PAGE)
            written += -(-size // PAGE) * PAGE
        elif size:
            found.append(size - 1)
    return list(dict.fromkeys(found))


def full_disk(
    work: Callable[[Path], object],  # writes into the folder
    prepare: Callable[[Path], object],  # makes what is there before
    kept: Callable[[dict, dict, dict], bool],  # of what is there, was, and will be
    most: int | None = None,  # how many writes are broken off; None: each of them
) -> int:  # how many were
    "Break off each write of some work: it says so, and the folder is as it should be."
    with small_disk() as (disk, mounted):
        folder, start = disk / "work", disk / "start"
        start.mkdir()
        prepare(start)
        shutil.copytree(start, folder)
        before = contents(folder)
        work(folder)
        whole = contents(folder)
        points = rooms(folder, before, mounted)
        assert whole != before and points
        if most is not None and most < len(points):  # the first, the last, between
            steps = max(most - 1, 1)
            points = [points[-1 - i * (len(points) - 1) // steps] for i in range(most)]
        for room in points:
            shutil.rmtree(folder)
            shutil.copytree(start, folder)
            with little_room(disk, mounted, room):
                try:
                    work(folder)
                except MovierecError as error:
                    said = "No space left" if mounted else "File too large"
                    assert said in str(error), error
                else:
                    raise AssertionError(f"all was written into {room} bytes")
            left = contents(folder)
            assert not [name for name in left if ".partial" in name], left.keys()
            assert kept(left, before, whole), (room, left.keys())
        if most is None:
            work(folder)
            assert contents(folder) == whole
    return len(points)


def unchanged(left, before, _):
    "All is as it was."
    return left == before


def some_whole(left, before, whole):
    "What was there is there; what is new is as it will be."
    return all(left.get(name) in (before[name], whole[name]) for name in before) and (
        left.items() <= (whole | left_of(before, left)).items()
    )


def left_of(before, left):
    "What of `before` is still there."
    return {
        name: content for name, content in before.items() if left.get(name) == content
    }


def a_second_version(folder):
    "Train v1.0.1, and put it in use."
    config = settings(folder)
    model = config.model.model_copy(update={"version": "v1.0.1"})
    train(config.model_copy(update={"model": model}))


def a_model(folder):
    "Data, and v1.0.0 in use."
    write_data(folder / "data")
    train(settings(folder))


def trained_or_not(left, before, whole):
    "The old version is in use; of the new one there is all or nothing."
    latest = {"artifacts/latest": before["artifacts/latest"]}
    return left in (before, whole | latest)


def lists(folder):
    "The lists of all users, in four parts."
    root = folder / "artifacts"
    run_job(root, folder / "lists", plan_job(root, "v1.0.0", size=USERS // 4))


def published_files():
    "MovieLens 100k, from the folder of this project."
    return read_folder(load_config().data_dir)


def altered_files(folder):
    "A folder with a file that is not the published one."
    (folder / "u.user").write_bytes(b"mine")


WORK = {
    "fetch": (
        lambda folder: fetch(folder, sources={"here": lambda _: published_files()}),
        altered_files,
        some_whole,
    ),
    "train": (a_second_version, a_model, trained_or_not),
    "batch": (lists, a_model, some_whole),
    "evaluate": (
        lambda folder: evaluate_version(settings(folder)),
        a_model,
        some_whole,
    ),
}


def break_writes(names=tuple(WORK), most=None):
    "For each kind of work, how many of its writes were broken off."
    before = os.environ.get("SOURCE_DATE_EPOCH")
    os.environ["SOURCE_DATE_EPOCH"] = "893286638"  # the same bytes each time
    try:
        return {name: full_disk(*WORK[name], most) for name in names}
    finally:
        os.environ.pop("SOURCE_DATE_EPOCH")
        if before is not None:
            os.environ["SOURCE_DATE_EPOCH"] = before


# A program that is killed

JOB = """
import sys
from pathlib import Path
from movierec.batch import plan_job, run_job
root, out = map(Path, sys.argv[1:])
job = plan_job(root, "v1.0.0", size=1)
print("ready", flush=True)
run_job(root, out, job)
"""


def begin(root, out):
    "A batch job in a process of its own, which begins to write now."
    names = os.environ.items()
    process = subprocess.Popen(
        [sys.executable, "-c", JOB, str(root), str(out)],
        env={name: value for name, value in names if not name.startswith("COVERAGE_")},
        stdout=subprocess.PIPE,
    )
    assert process.stdout.readline() == b"ready\n"
    return process


def kill_batches(kills, seed=0):
    "Kill a batch job so often, and let it go on; counts of what happened."
    chance = random.Random(seed)
    counts = {"kills": 0, "half files left": 0, "jobs finished": 0}
    with tempfile.TemporaryDirectory() as parent:
        home, out = Path(parent), Path(parent) / "lists"
        a_model(home)
        root, began = home / "artifacts", time.monotonic()
        with begin(root, home / "whole") as process:
            began = time.monotonic()
            assert process.wait() == 0
        seconds, whole = time.monotonic() - began, contents(home / "whole")
        assert len(whole) == USERS + 1
        while counts["kills"] < kills or out.exists():
            with begin(root, out) as process:
                if counts["kills"] < kills:
                    time.sleep(chance.uniform(0, seconds / 2))
                    process.send_signal(signal.SIGKILL)
                ended = process.wait()
            left = contents(out)
            half = {name for name in left if name.endswith(".partial")}
            seen = {name: left[name] for name in left.keys() - half}
            assert seen.items() <= whole.items(), "a file is not as it should be"
            counts["kills"] += ended == -signal.SIGKILL
            counts["half files left"] += len(half)
            assert len(half) <= 1, "what was left before was not swept"
            if ended == 0:
                assert left == whole, "it ended without having made all"
                counts["jobs finished"] += 1
                shutil.rmtree(out)
            elif not out.exists():
                out.mkdir()  # so that the loop ends only with a finished job
    return counts


def main():
    "Do it, and print what held."
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--batch-kills", type=int, default=20, help="default: 20")
    parser.add_argument(
        "--writes", type=int, help="of each kind of work; default: each write"
    )
    given = parser.parse_args()
    logging.getLogger("movierec").setLevel(logging.ERROR)
    for name in WORK:
        (broken,) = break_writes([name], given.writes).values()
        print(f"{name}: {broken} writes met a full disk; nothing lost", flush=True)
    told = ", ".join(
        f"{n} {what}" for what, n in kill_batches(given.batch_kills).items()
    )
    print(f"batch: {told}; each file as it should be")


if __name__ == "__main__":
    main()
