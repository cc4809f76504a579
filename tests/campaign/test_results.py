import sqlite3
import stat
import subprocess
import sys

import pytest

from fadump.campaign.job import Artifact
from fadump.campaign.outcome import Outcome
from fadump.campaign.results import VERSION, Results
from fadump.errors import FormatError, SetupError, UsageError
from tests.campaign.runs import plan, run


@pytest.fixture
def path(tmp_path):
    return tmp_path / "some.results"


def test_what_is_kept_is_read_back(path):
    lost = run(Outcome.LOST, "why", {"console.log": b"said" * 1000, "stderr": b""})
    whole = plan("1G", "2G", artifacts=[Artifact("/kernel", "ab", 7)])
    with Results.create(path, whole) as results:
        results.add(2, lost)
    with Results.read(path) as results:
        assert results.plan() == whole
        assert results.runs() == {2: run(Outcome.LOST, "why")}
        assert results.files(2) == {"console.log": b"said" * 1000, "stderr": b""}
        assert results.files(1) == {}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [*path.parent.iterdir()] == [path]


def test_a_campaign_goes_on_with_its_results(path):
    with Results.create(path, plan("1G", "2G")) as results:
        results.add(1, run())
    with Results.create(path, plan("1G", "2G")) as results:
        assert results.runs().keys() == {1}
        results.add(2, run())
    with Results.read(path) as results:
        assert results.runs().keys() == {1, 2}


def test_a_run_is_kept_once(path):
    with Results.create(path, plan("1G")) as results:
        results.add(1, run())
        with pytest.raises(SetupError):
            results.add(1, run(Outcome.LOST))
        assert results.runs() == {1: run()}


def test_a_run_that_could_not_be_tried_makes_room_for_one_that_could(path):
    with Results.create(path, plan("1G")) as results:
        results.add(1, run(Outcome.NOT_TRIED, "no QEMU", {"stderr": b"no QEMU"}))
        results.add(1, run())
        assert results.runs() == {1: run()}
        assert results.files(1) == {}


@pytest.mark.parametrize("other", [plan("1G"), plan("1G", "4G"), plan("1G", "2G", "4G")])
def test_results_of_another_plan_are_refused(path, other):
    Results.create(path, plan("1G", "2G")).close()
    with pytest.raises(UsageError, match="name another --results"):
        Results.create(path, other)


def test_a_file_that_has_changed_is_named(path):
    Results.create(path, plan("1G", artifacts=[Artifact("/kernel", "old", 7)])).close()
    with pytest.raises(UsageError, match="/kernel has changed since the campaign"):
        Results.create(path, plan("1G", artifacts=[Artifact("/kernel", "new", 7)]))


def test_another_campaign_that_writes_is_waited_for_by_nobody_and_readers_are_let_in(path):
    with Results.create(path, plan("1G")) as results:
        results.add(1, run())
        with pytest.raises(SetupError, match="another campaign writes to"):
            Results.create(path, plan("1G"))
        with Results.read(path) as reader:
            assert reader.runs() == {1: run()}
    Results.create(path, plan("1G")).close()


@pytest.mark.parametrize("content", [b"no database" * 100, b"x", b"SQLite format 3\0" + b"\xff" * 5000])
@pytest.mark.parametrize("use", [lambda path: Results.create(path, plan("1G")), Results.read])
def test_a_file_that_is_no_database_is_refused_and_left_alone(path, content, use):
    path.write_bytes(content)
    with pytest.raises(FormatError, match="no campaign's results"):
        use(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize("use", [lambda path: Results.create(path, plan("1G")), Results.read])
def test_another_program_s_database_and_another_version_are_refused(path, use):
    Results.create(path, plan("1G")).close()
    database = sqlite3.connect(path)
    database.execute(f"PRAGMA user_version = {VERSION + 1}")
    with pytest.raises(FormatError, match=f"results of version {VERSION + 1}, and this fadump reads version {VERSION}"):
        use(path)
    database.execute("PRAGMA application_id = 1")
    with pytest.raises(FormatError, match="another program's database"):
        use(path)
    database.close()


def test_a_damaged_row_is_a_sentence(path):
    Results.create(path, plan("1G")).close()
    with sqlite3.connect(path) as database:
        database.execute("UPDATE cases SET factors = '[1'")
        database.execute("INSERT INTO runs VALUES (1, 'splendid', 0, '', '', 1, 1, 1, '', '')")
    database.close()
    with Results.read(path) as results:
        for read in (results.plan, results.runs):
            with pytest.raises(FormatError, match="damaged"):
                read()


DAMAGED = [
    "UPDATE campaign SET name = CAST(x'ff' AS TEXT)",
    "UPDATE campaign SET seed = x'00'",
    "DELETE FROM campaign",
    "DELETE FROM cases",
    """UPDATE cases SET factors = '{"cpus": ["1"]}' WHERE number = 2""",
    """UPDATE cases SET factors = '{"memory": [1]}'""",
    """UPDATE cases SET factors = '{"memory": "2G"}'""",
    "UPDATE cases SET words = '7'",
    "UPDATE cases SET words = '[]'",
    "UPDATE cases SET words = printf('%.*c', 100000, '[')",
    "UPDATE artifacts SET size_bytes = 'large'",
    "UPDATE runs SET cpu_seconds = 'much'",
    "UPDATE runs SET seconds = 9e999",
    "UPDATE runs SET memory_bytes = x'00'",
    "UPDATE runs SET error = x'00'",
    "UPDATE runs SET host = CAST(x'ff' AS TEXT)",
]


@pytest.mark.parametrize("statement", DAMAGED)
def test_a_value_of_another_kind_is_damage(path, statement):
    with Results.create(path, plan("1G", "2G", artifacts=[Artifact("/kernel", "ab", 7)])) as results:
        results.add(1, run(Outcome.LOST, "why"))
    with sqlite3.connect(path) as database:
        database.execute(statement)
    database.close()
    with Results.read(path) as results, pytest.raises(FormatError, match="some.results is damaged"):
        results.plan() and results.runs()


def test_text_that_is_not_utf_8_is_a_sentence_or_is_kept_escaped(path):
    with pytest.raises(UsageError, match=r"'/k\\udcff' isn't UTF-8"):
        Results.create(path, plan("1G", artifacts=[Artifact("/k\udcff", "ab", 7)]))
    assert not path.exists()
    with Results.create(path, plan("1G")) as results:
        results.add(1, run(Outcome.LOST, "no /k\udcff"))
        assert results.runs()[1].error == r"no /k\udcff"


@pytest.mark.parametrize("use", [lambda path: Results.create(path, plan("1G")), Results.read])
def test_what_is_not_there_is_a_sentence(tmp_path, use):
    with pytest.raises(SetupError, match="/nothing/some can't be"):
        use(tmp_path / "nothing" / "some")
    with pytest.raises(SetupError, match="can't be"):
        use(tmp_path)


def test_an_empty_file_has_no_results(path):
    path.touch()
    with pytest.raises(FormatError, match="another program's"):
        Results.read(path)


FILLS = """
import sys
from pathlib import Path
from fadump.campaign.results import Results
from fadump.errors import DiskError
from tests.campaign.runs import plan, run

path = Path(sys.argv[1])
numbers = [str(number) for number in range(1, 100)]
with Results.create(path, plan(*numbers)) as results:
    try:
        for number in range(1, 100):
            results.add(number, run(files={"noise": __import__("os").urandom(1 << 17)}))
    except DiskError as error:
        print(number, error)
with Results.read(path) as results:
    print(len(results.runs()))
"""


def test_a_full_disk_is_said_and_what_was_kept_stays(tmp_path):
    command = f'mount -t tmpfs -o size=2m tmpfs "{tmp_path}" && exec "$@"'
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", command, "sh", sys.executable, "-c", FILLS,
         str(tmp_path / "some.results")],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    said, count = done.stdout.splitlines()
    failed, _blank, sentence = said.partition(" ")
    assert "some.results can't be written: No space left on device: make room" in sentence
    assert int(failed) > 1 and int(count) == int(failed) - 1
