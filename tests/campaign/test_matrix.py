import itertools

import pytest

from fadump.campaign.matrix import MOST_CASES, read_matrix, title_of
from fadump.compare.configuration import full_set
from fadump.errors import FadumpError, SetupError, UsageError
from fadump.run.faults import every_fault

HUGE = 1 << 20000
OPTIONS = ["platform", "memory", "cpus", "fault", "verify", "kernel", "guest", "cmdline", "node", "configuration"]


@pytest.fixture
def read(tmp_path):
    """Reads a campaign's text."""

    def read(text, seed=None):
        path = tmp_path / "mine.toml"
        path.write_text(text)
        return read_matrix(path, OPTIONS, seed)

    return read


def titles(matrix):
    return [case.title for case in matrix.cases()]


def test_every_combination_is_a_case_numbered_from_one(read):
    matrix = read('[factors]\nmemory = ["2G", "4G"]\ncpus = [1, 2]')
    assert titles(matrix) == ["memory=2G cpus=1", "memory=2G cpus=2", "memory=4G cpus=1", "memory=4G cpus=2"]
    assert [case.number for case in matrix.cases()] == [1, 2, 3, 4]
    assert (matrix.name, matrix.seed, matrix.timeout_seconds) == ("mine", "0", 900)


def test_values_are_what_an_option_is_given(read):
    matrix = read('[factors]\ncmdline = ["", "a b"]\nnode = [["1G", "2G"]]\n[always]\nverify = true')
    assert matrix.factors == {"cmdline": [(), ("a b",)], "node": [("1G", "2G")]}
    assert matrix.always == {"verify": ("true",)}
    assert title_of({"cmdline": (), "node": ("1G", "2G")}) == "node=1G+2G"


def test_a_value_that_is_given_twice_counts_once(read):
    assert titles(read('[factors]\nmemory = ["2G", "2G"]')) == ["memory=2G"]


def test_exclusions_leave_combinations_out(read):
    matrix = read('[factors]\nmemory = ["2G", "4G", "8G"]\ncpus = [1, 2]\n[[exclude]]\nmemory = ["2G", "8G"]\ncpus = 2')
    assert titles(matrix) == ["memory=2G cpus=1", "memory=4G cpus=1", "memory=4G cpus=2", "memory=8G cpus=1"]


@pytest.mark.parametrize("strength", [1, 2, 3])
def test_a_covering_set_has_every_set_of_so_many_values(read, strength):
    factors = {"memory": ["2G", "4G", "8G"], "cpus": ["1", "2", "4"], "kernel": ["6.1", "6.12"], "guest": ["a", "b"]}
    written = "\n".join(f"{name} = {values}" for name, values in factors.items())
    matrix = read(f"strength = {strength}\n[factors]\n{written}")

    def sets(rows):
        return {found for row in rows for found in itertools.combinations(enumerate(row), strength)}

    rows = [tuple(value for (value,) in case.values.values()) for case in matrix.cases()]
    assert sets(rows) == sets(itertools.product(*factors.values()))
    assert len(rows) < 36


def test_a_seed_gives_the_same_set_again_and_another_one_another(read):
    text = 'strength = 2\nseed = "{}"\n[factors]\nmemory = ["1G", "2G", "4G"]\ncpus = [1, 2, 3]\nkernel = ["a", "b"]'
    assert titles(read(text.format("x"))) == titles(read(text.format("x"))) != titles(read(text.format("y")))


def test_a_fault_goes_with_its_own_platform_only(read):
    matrix = read('[factors]\nplatform = ["pseries", "powernv"]\nfault = ["registers=no-end", "registers=nowhere"]')
    assert titles(matrix) == ["platform=pseries fault=registers=no-end", "platform=powernv fault=registers=nowhere"]


def test_every_stands_for_each_fault_of_the_platforms(read):
    one = read('[factors]\nfault = ["", "every"]\n[always]\nplatform = "powernv"')
    assert one.factors["fault"] == [(), *((fault,) for fault in every_fault("powernv"))]
    both = read('[factors]\nfault = ["every"]\nplatform = ["pseries", "powernv"]').cases()
    pairs = [(*case.values["platform"], *case.values["fault"]) for case in both]
    expected = [(platform, fault) for platform in ("pseries", "powernv") for fault in every_fault(platform)]
    assert sorted(pairs) == sorted(expected)


def test_every_stands_for_each_configuration_of_the_seeds_set(read):
    def numbers(seed):
        return list(itertools.chain(*read('[factors]\nconfiguration = ["every"]', seed).factors["configuration"]))

    assert numbers(None) == numbers("0") == [str(number) for number, _row in enumerate(full_set("0"), 1)]
    assert len(numbers("9")) == len(full_set("9")) != len(full_set("0"))


WRONG = {
    'strenght = 2\n[factors]\nmemory = ["2G"]': "there is no strenght; did you mean strength?",
    '[factors]\nmemry = ["2G"]': r"there is no memry in \[factors\]; did you mean memory?",
    "[always]\nverfy = true": r"there is no verfy in \[always\]; did you mean verify?",
    "": r"there are no factors: write \[factors\]",
    "[factors]\nmemory = []": "memory in .factors. has no values",
    '[factors]\nmemory = "2G"': r'memory in \[factors\] is no list: write memory = \["2G"\]',
    "factors = 3": "factors is no table",
    "[factors]\nmemory = [{}]": "memory can't be {}",
    "[factors]\nmemory = [2G]": "is not TOML",
    f"[factors]\nmemory = [{'9' * 5000}]": "a number in it has more than 64 bits",
    f"[factors]\nmemory = [{1 << 64}]": "a number in it has more than 64 bits",
    f"strength = {HUGE:#x}\n[factors]\nmemory = [1]": "a number in it has more than 64 bits",
    '[factors]\ncmdline = ["a\\u0000"]': "a text in it has a NUL character",
    'name = "a\\u0000"\n[factors]\nmemory = ["2G"]': "a text in it has a NUL character",
    'name = ""\n[factors]\nmemory = ["2G"]': "name is empty",
    '[factors]\nplatform = ["", "pseres"]\nfault = [""]': "platform can't be pseres: write pseries or powernv",
    '[always]\nplatform = true\n[factors]\nfault = [""]': "platform can't be true: write pseries or powernv",
    '[factors]\nfault = ["registers=no-ned"]': "registers=no-ned is not a fault.*did you mean registers=no-end?",
    'strength = 0\n[factors]\nmemory = ["2G"]': "strength can't be 0",
    'strength = true\n[factors]\nmemory = ["2G"]': "strength can't be True",
    'timeout = -1\n[factors]\nmemory = ["2G"]': "timeout can't be -1",
    'timeout = nan\n[factors]\nmemory = ["2G"]': "timeout can't be nan",
    'seed = []\n[factors]\nmemory = ["2G"]': r"seed can't be \[\]",
    'exclude = 3\n[factors]\nmemory = ["2G"]': "exclude is no list of tables",
    '[factors]\nmemory = ["2G"]\n[[exclude]]\nmemroy = "2G"': "there is no memroy in .*did you mean memory?",
    '[factors]\nmemory = ["2G"]\n[[exclude]]\nmemory = "3G"': "has memory=3G, which is no value of that factor",
    '[factors]\nmemory = ["2G"]\n[always]\nmemory = "3G"': r"memory stands in \[factors\] and in \[always\]",
    '[factors]\nmemory = ["2G"]\n[[exclude]]\nmemory = "2G"': "nothing is left to run",
    'strength = 1\n[factors]\nmemory = ["2G"]\n[[exclude]]\nmemory = "2G"': "nothing is left to run",
}


@pytest.mark.parametrize("text", WRONG, ids=WRONG.values())
def test_what_is_wrong_is_said_in_a_sentence(read, text):
    with pytest.raises(UsageError, match=WRONG[text]):
        read(text).cases()


def test_a_campaign_whose_file_or_seed_is_not_utf_8(tmp_path):
    path = tmp_path / "mine\udcff.toml"
    path.write_text("[factors]\nmemory = [1, 2]")
    assert read_matrix(path, OPTIONS).name == r"mine\udcff"
    with pytest.raises(UsageError, match=r"seed '\\udcff' isn't UTF-8"):
        read_matrix(path, OPTIONS, "\udcff")


def test_too_many_combinations_are_refused_before_they_are_made(read):
    factors = "\n".join(f"{name} = {[*map(str, range(1000))]}" for name in ("memory", "cpus", "kernel"))
    with pytest.raises(UsageError, match=f"1,000,000,000 combinations, more than {MOST_CASES:,}: give strength = 2"):
        read(f"[factors]\n{factors}").cases()


def test_a_file_that_is_not_there_or_endless_is_refused(tmp_path):
    with pytest.raises(SetupError, match="can't be read"):
        read_matrix(tmp_path / "nothing", OPTIONS)
    (tmp_path / "large").write_bytes(b"#" * (2 << 20))
    with pytest.raises(UsageError, match="large has 2,097,152 bytes, more than the 1,048,576 that are read"):
        read_matrix(tmp_path / "large", OPTIONS)
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    with pytest.raises(FadumpError, match="is not TOML"):
        read_matrix(tmp_path / "bytes", OPTIONS)
    (tmp_path / "deep").write_text("a = " + "[" * 5000)
    with pytest.raises(FadumpError, match="is not TOML"):
        read_matrix(tmp_path / "deep", OPTIONS)
