"""Fetching from a server that cuts and cheats, and unpacking archives that are hostile."""

import hashlib
import io
import re
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from scl.__main__ import main
from scl.datasets.fetch.download import Archive, coco_archives, fetch, obtain, pascal_archives
from scl.datasets.fetch.unpack import unpack

DATA = bytes(range(256)) * 4000
MD5, SHA256 = hashlib.md5(DATA).hexdigest(), hashlib.sha256(DATA).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves `data`; the first `cuts` answers break off half-way, and `ranges` may be off."""

    data, cuts, ranges, status, length = DATA, 0, True, 200, True

    def __init__(self):
        self.asked = []
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/file.bin"


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *arguments):
        pass

    def do_GET(self):
        server, asked = self.server, self.headers.get("Range")
        server.asked.append(asked)
        if server.status != 200:
            self.send_error(server.status)
            return
        start = int(re.match(r"bytes=(\d+)-", asked)[1]) if asked and server.ranges else 0
        if start and start >= len(server.data):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(server.data)}")
            self.end_headers()
            return
        body = server.data[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header(
                "Content-Range", f"bytes {start}-{len(server.data)}/{len(server.data)}"
            )
        if server.length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if server.cuts:
            server.cuts -= 1
            body = body[: len(body) // 2]
        self.wfile.write(body)


@pytest.fixture
def server():
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def only(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("checksum", [MD5, SHA256, MD5.upper()])
def test_a_file_arrives_whole_and_leaves_nothing_else(server, tmp_path, checksum):
    target = fetch(server.url, tmp_path / "new" / "file.bin", checksum)
    assert target.read_bytes() == DATA and only(tmp_path / "new") == ["file.bin"]
    assert fetch(server.url, target, checksum) == target and len(server.asked) == 1


def test_a_cut_connection_is_continued_where_it_broke(server, tmp_path):
    server.cuts = 2
    target = fetch(server.url, tmp_path / "file.bin", MD5)
    assert target.read_bytes() == DATA
    half = len(DATA) // 2
    assert server.asked == [None, f"bytes={half}-", f"bytes={half + half // 2}-"]


def test_what_arrived_waits_for_a_later_call(server, tmp_path):
    server.cuts = 9
    with pytest.raises(ValueError, match="could not be fetched .*run it again to continue"):
        fetch(server.url, tmp_path / "file.bin", MD5, tries=1)
    assert only(tmp_path) == ["file.bin.part"]
    server.cuts = 0
    assert fetch(server.url, tmp_path / "file.bin", MD5).read_bytes() == DATA
    assert server.asked[-1] == f"bytes={len(DATA) // 2}-" and only(tmp_path) == ["file.bin"]


def test_a_server_that_cannot_continue_begins_again(server, tmp_path):
    server.cuts, server.ranges = 1, False
    assert fetch(server.url, tmp_path / "file.bin", MD5).read_bytes() == DATA


def test_a_server_that_tells_no_length_is_believed_up_to_the_checksum(server, tmp_path):
    server.length = False
    assert fetch(server.url, tmp_path / "file.bin", MD5).read_bytes() == DATA


def test_a_part_that_is_complete_or_too_long_is_settled(server, tmp_path):
    (tmp_path / "file.bin.part").write_bytes(DATA)
    assert fetch(server.url, tmp_path / "file.bin", MD5).read_bytes() == DATA
    (tmp_path / "file.bin").unlink()
    (tmp_path / "file.bin.part").write_bytes(DATA + b"more")
    assert fetch(server.url, tmp_path / "file.bin", MD5).read_bytes() == DATA


@pytest.mark.parametrize("cuts", [0, 1])
def test_a_wrong_checksum_leaves_neither_file_nor_part(server, tmp_path, cuts):
    server.data, server.cuts = DATA[:-1] + b"!", cuts
    with pytest.raises(ValueError, match=f"file.bin.part has the checksum .*: expected {MD5}"):
        fetch(server.url, tmp_path / "file.bin", MD5)
    assert only(tmp_path) == []
    server.data = DATA
    assert fetch(server.url, tmp_path / "file.bin", MD5).read_bytes() == DATA


def test_a_part_that_was_damaged_meanwhile_is_fetched_anew(server, tmp_path):
    (tmp_path / "file.bin.part").write_bytes(b"?" * 1000)
    with pytest.raises(ValueError, match="has the checksum"):
        fetch(server.url, tmp_path / "file.bin", MD5)
    assert fetch(server.url, tmp_path / "file.bin", MD5).read_bytes() == DATA


def test_a_file_that_is_there_is_never_overwritten(server, tmp_path):
    (tmp_path / "file.bin").write_bytes(b"mine")
    with pytest.raises(ValueError, match="file.bin has the checksum"):
        fetch(server.url, tmp_path / "file.bin", MD5)
    assert (tmp_path / "file.bin").read_bytes() == b"mine" and not server.asked


@pytest.mark.parametrize("status, asked", [(403, 1), (404, 1), (503, 4)])
def test_a_refusal_says_to_use_a_browser(server, tmp_path, status, asked):
    server.status = status
    with pytest.raises(ValueError, match=f"the server answers {status}.*--archive"):
        fetch(server.url, tmp_path / "file.bin", MD5)
    assert len(server.asked) == asked and only(tmp_path) == []


def test_no_server_and_no_checksum_are_named(tmp_path):
    with pytest.raises(ValueError, match="http://127.0.0.1:9/x could not be fetched"):
        fetch("http://127.0.0.1:9/x", tmp_path / "x", MD5)
    (tmp_path / "x").write_bytes(b"")
    with pytest.raises(ValueError, match="expected 32 .MD5. or 64"):
        fetch("http://127.0.0.1:9/x", tmp_path / "x", "abc")


def test_the_published_archives_have_checksums():
    for archive in (*pascal_archives(), *coco_archives(), *coco_archives("2017")):
        assert re.fullmatch("[0-9a-f]{32}", archive.checksum) and archive.name in archive.url
    assert [len(coco_archives(year)) for year in ("2014", "2017")] == [3, 3]


# ------------------------------------------------------------------- archives


def tar(path, members, kind="w:gz"):
    """A tar of (name or TarInfo, bytes)."""
    with tarfile.open(path, kind) as archive:
        for info, data in members:
            info = tarfile.TarInfo(info) if isinstance(info, str) else info
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def zipped(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for info, data in members:
            archive.writestr(info, data)
    return path


def special(kind, name="link", target="/etc/passwd"):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def zip_link():
    info = zipfile.ZipInfo("link")
    info.external_attr = 0o120777 << 16
    return info


GOOD = [("a/one.txt", b"one"), ("a/b/two.txt", b"two" * 1000)]
BAD = ["../out.txt", "/out.txt", "a/../../out.txt", "a\\..\\..\\out.txt", "C:/out.txt"]


@pytest.mark.parametrize("make", [tar, zipped])
def test_an_archive_is_unpacked_once_and_what_is_there_stays(tmp_path, make):
    archive, out = make(tmp_path / "x.archive", GOOD), tmp_path / "out"
    assert unpack(archive, out) == 2 and unpack(archive, out) == 0
    assert (out / "a" / "b" / "two.txt").read_bytes() == b"two" * 1000
    (out / "a" / "one.txt").write_bytes(b"mine")
    with pytest.raises(ValueError, match="one.txt exists and is not what .*nothing is overwritten"):
        unpack(archive, out)
    assert (out / "a" / "one.txt").read_bytes() == b"mine"


@pytest.mark.parametrize("make", [tar, zipped])
@pytest.mark.parametrize("name", BAD)
def test_a_member_that_leads_elsewhere_refuses_the_whole_archive(tmp_path, make, name):
    archive = make(tmp_path / "x.archive", [*GOOD, (name, b"evil")])
    with pytest.raises(
        ValueError, match="x.archive holds .*out.txt.*, a path that leads elsewhere"
    ):
        unpack(archive, tmp_path / "deep" / "out")
    assert only(tmp_path) == ["x.archive"]


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE]
)
def test_links_and_devices_refuse_a_tar(tmp_path, kind):
    archive = tar(tmp_path / "x.tar", [*GOOD, (special(kind), b"")], "w")
    with pytest.raises(ValueError, match="holds 'link', a link or a device: nothing was unpacked"):
        unpack(archive, tmp_path / "out")
    assert only(tmp_path) == ["x.tar"]


def test_links_refuse_a_zip_and_a_link_that_is_there_is_not_followed(tmp_path):
    archive = zipped(tmp_path / "x.zip", [(zip_link(), b"/etc/passwd")])
    with pytest.raises(ValueError, match="a link or a device"):
        unpack(archive, tmp_path / "out")
    archive, out = zipped(tmp_path / "y.zip", GOOD), tmp_path / "out"
    (tmp_path / "elsewhere").mkdir()
    out.mkdir()
    (out / "a").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="outside .* where a link leads"):
        unpack(archive, out)
    assert only(tmp_path / "elsewhere") == []


@pytest.mark.parametrize("make", [tar, zipped])
def test_a_broken_archive_is_named_and_leaves_no_half_file(tmp_path, make):
    noise = bytes(hashlib.sha256(b"%d" % i).digest()[0] for i in range(4000))
    archive = make(tmp_path / "x.archive", [("a.txt", noise)])
    whole = archive.read_bytes()
    for place in range(30, len(whole), 97):
        archive.write_bytes(whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :])
        try:
            unpack(archive, tmp_path / "out")
        except ValueError as error:
            assert "x.archive" in str(error)
        for path in (tmp_path / "out").rglob("*"):
            if path.is_file():
                assert path.read_bytes() == noise
                path.unlink()
    archive.write_bytes(b"no archive at all")
    with pytest.raises(ValueError, match="x.archive cannot be read as an archive.*fetch it again"):
        unpack(archive, tmp_path / "out")


def test_two_members_of_one_name_and_a_full_disk_are_refused(tmp_path, monkeypatch):
    archive = tar(tmp_path / "x.tar", [*GOOD, GOOD[0]])
    with pytest.raises(ValueError, match="two members of one name"):
        unpack(archive, tmp_path / "out")
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("", (), {"free": 10}))
    with pytest.raises(ValueError, match=r"x.tar unpacks to 0.0 GB, and .* free: make room"):
        unpack(tar(tmp_path / "x.tar", GOOD), tmp_path / "out")


# --------------------------------------------------------------- a whole benchmark


def served(server, tmp_path):
    """An archive that the server has, and its description."""
    path = tar(tmp_path / "set.tgz", GOOD)
    server.data = path.read_bytes()
    return path, Archive("set.tgz", server.url, hashlib.md5(server.data).hexdigest())


def test_a_benchmark_is_fetched_unpacked_and_then_left_alone(server, tmp_path):
    _, archive = served(server, tmp_path)
    for _ in range(2):
        obtain([archive], tmp_path / "data")
    assert (tmp_path / "data" / "a" / "one.txt").read_bytes() == b"one" and len(server.asked) == 1


def test_an_archive_at_hand_takes_the_place_of_the_server(server, tmp_path):
    path, archive = served(server, tmp_path)
    obtain([archive], tmp_path / "data", [path])
    assert (tmp_path / "data" / "a" / "one.txt").exists() and not server.asked
    with pytest.raises(ValueError, match="other.zip is none of the archives needed: expected set"):
        obtain([archive], tmp_path / "data", [tmp_path / "other.zip"])
    path.write_bytes(server.data + b"!")
    with pytest.raises(ValueError, match="set.tgz has the checksum"):
        obtain([archive], tmp_path / "fresh", [path])
    assert not (tmp_path / "fresh" / "a").exists()
    path.unlink()
    with pytest.raises(ValueError, match="set.tgz is missing"):
        obtain([archive], tmp_path / "fresh", [path])


def test_the_command_unpacks_what_was_fetched_by_hand(tmp_path, capsys, monkeypatch):
    path = zipped(tmp_path / "fewshot_data.zip", [("fewshot_data/bus/1.jpg", b"x")])
    fss = ["data", "download", "--data", "fss", "--root", str(tmp_path / "data")]
    assert main([*fss, "--archive", str(path)]) == 0
    assert (tmp_path / "data" / "fewshot_data" / "bus" / "1.jpg").exists()
    assert main(fss) == 1 and "fetched with a browser" in capsys.readouterr().err
    given = tar(tmp_path / "train2014.zip", GOOD)
    monkeypatch.setattr(
        "scl.datasets.fetch.download.COCO_MD5",
        {"train2014.zip": hashlib.md5(given.read_bytes()).hexdigest()},
    )
    coco = ["data", "download", "--data", "coco", "--root", str(tmp_path / "coco")]
    assert main([*coco, "--archive", str(given)]) == 0
    assert (tmp_path / "coco" / "a" / "one.txt").exists()
