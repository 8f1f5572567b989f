"""Compare our lists with those of an older commit: tools/same_lists.py COMMIT

Both learn from MovieLens 100k in this work tree, each in a process of its own; the
commit is checked out into a temporary work tree. Compared are the ten films most
similar to each film, by each method, and the ten recommended to each user: the same
films in the same order, scores to 1e-9. A film that the catalogue holds twice, under
two ids, could once stand twice in a list: lists that differ by nothing else are counted
apart. Exit status 1 if any other list differs.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from itertools import zip_longest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
K = 10
TOLERANCE = 1e-9
SHOWN = 5  # differing lists that are printed, of a kind

Entry = tuple[int, str, int | None, float]  # movie_id, title, year, score
Lists = dict[str, dict[str, list[Entry]]]  # by kind, and by film or user


def make_lists(data: Path, k: int) -> Lists:
    "The lists of the package that this process imports."
    from movierec.data import load
    from movierec.recommender import Recommender

    dataset = load(data)
    rec = Recommender.from_tables(dataset.movies, dataset.ratings)
    movies = dataset.movies["movie_id"].to_list()
    users = dataset.ratings["user_id"].unique().sort().to_list()

    def entries(results) -> list[Entry]:
        names = ("movie_id", "title", "year", "score")
        return [tuple(item[name] for name in names) for item in results.items]

    return {
        "cosine": {str(m): entries(rec.similar(m, k, "cosine")) for m in movies},
        "jaccard": {str(m): entries(rec.similar(m, k, "jaccard")) for m in movies},
        "users": {str(u): entries(rec.recommend_for_user(u, k)) for u in users},
    }


def lists_of(tree: Path, k: int) -> Lists:
    "The lists of the package in a work tree."
    command = [sys.executable, __file__, "--lists", str(ROOT / "ml-100k"), str(k)]
    environment = os.environ | {"PYTHONPATH": str(tree)}
    done = subprocess.run(command, cwd=tree, env=environment, stdout=subprocess.PIPE)
    if done.returncode:
        raise SystemExit(f"The lists of {tree} could not be made; see above")
    where, lists = json.loads(done.stdout)
    if Path(where).resolve().parent != (tree / "movierec").resolve():
        raise SystemExit(f"{where} was run, not the package in {tree}")
    return lists


def lists_at(commit: str) -> Lists:
    "Lists twice as long: where doubles are taken out, others move up."
    git = ["git", "-C", str(ROOT)]
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder).resolve() / "then"
        add = [*git, "worktree", "add", "--quiet", "--detach", str(tree), commit]
        if subprocess.run(add).returncode:
            raise SystemExit(2)
        try:
            return lists_of(tree, 2 * K)
        finally:
            subprocess.run(
                [*git, "worktree", "remove", "--force", str(tree)], check=True
            )


def same(one: Entry | None, other: Entry | None) -> bool:
    "Whether two entries are the same film with the same score."
    if one is None or other is None:
        return one is other
    return one[0] == other[0] and abs(one[3] - other[3]) <= TOLERANCE


def first_difference(old: list[Entry], new: list[Entry]) -> str | None:
    "Where two lists part; None if nowhere."
    for rank, (one, other) in enumerate(zip_longest(old, new), start=1):
        if not same(one, other):
            return f"rank {rank} was {one}, is {other}"
    return None


def without_doubles(entries: list[Entry]) -> list[Entry]:
    "Each film (title, year) where it first stands."
    first: dict[tuple[str, int | None], Entry] = {}
    for entry in entries:
        first.setdefault((entry[1], entry[2]), entry)
    return list(first.values())


def judge(old: list[Entry], new: list[Entry]) -> str:
    "What a pair of lists is counted as: the same, doubles, or where they part."
    if not first_difference(old[:K], new):
        return "same"
    return first_difference(without_doubles(old)[:K], new) or "doubles"


def main(commit: str) -> int:
    "Compare, and print what differs."
    then, now = lists_at(commit), lists_of(ROOT, K)
    failed = False
    for kind, old in then.items():
        new = now[kind]
        if old.keys() != new.keys():
            raise SystemExit(f"{kind}: not the same films or users")
        verdicts = {key: judge(old[key], new[key]) for key in old}
        counts = Counter(verdicts.values())
        others = {k: v for k, v in verdicts.items() if v not in ("same", "doubles")}
        print(
            f"{kind}: {len(old):,} lists, {counts['same']:,} the same, "
            f"{counts['doubles']:,} differ by doubles alone, {len(others):,} otherwise"
        )
        for key in list(others)[:SHOWN]:
            print(f"  {key}: {others[key]}")
        failed |= bool(others)
    return int(failed)


if __name__ == "__main__":
    if len(sys.argv) == 4 and sys.argv[1] == "--lists":
        import movierec

        lists = make_lists(Path(sys.argv[2]), int(sys.argv[3]))
        json.dump([movierec.__file__, lists], sys.stdout)
    elif len(sys.argv) == 2 and not sys.argv[1].startswith("-"):
        sys.exit(main(sys.argv[1]))
    else:
        sys.exit(__doc__)
