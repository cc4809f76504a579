"""Each distribution's service, read from its files as its own scripts read them."""

from dataclasses import replace
from importlib.resources import files

import pytest

from fadump.service.doctor.configuration import Place, Server
from fadump.service.doctor.savers import Service, UnitState, savers, shell_settings, unit_state
from fadump.vmcore import codecs
from tests.service.doctor.trees import UNITS, WANTS, Tree

KDUMP_CONF = """\
# kdump-utils
#raw /dev/vg/lv_kdump
auto_reset_crashkernel yes
{target}
path /var/crash/here
core_collector makedumpfile -l --message-level 7 -d 17
"""


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path)


def only(tree):
    (saver,) = savers(tree.files)
    return saver


@pytest.mark.parametrize(("settings", "place"), [
    ("", Place("/var/crash", "/var/crash")),
    ('KDUMP_COREDIR="/srv/crash dumps"  # large', Place("/srv/crash dumps", "/srv/crash dumps")),
    ("SSH=root@there", Place("ssh://root@there", server=Server("there", 22))),
    ("NFS='there:/crash'", Place("nfs://there:/crash", server=Server("there", 2049))),
    ("export FTP=there:/crash", Place("ftp://there:/crash", server=Server("there", 21))),
    ("SSH=root@[fe80::1]", Place("ssh://root@[fe80::1]", server=Server("fe80::1", 22))),
    ("SSH=@", Place("ssh://@")),
])  # fmt: skip
def test_kdump_tools_saves_where_its_defaults_say(tree, settings, place):
    tree.kdump_tools(f"USE_KDUMP=1\n{settings}\n")
    saver = only(tree)
    assert (saver.service, saver.places) == (Service.KDUMP_TOOLS, (place,))
    assert (saver.level, saver.reboots, saver.saves) == (31, True, True)


def test_kdump_tools_level_is_makedumpfile_s(tree):
    tree.kdump_tools('USE_KDUMP=1\nMAKEDUMP_ARGS="-c -d 17"\n')
    assert only(tree).level == 17


DROP_IN = "/etc/systemd/system/kdump-tools.service.d/fadump.conf"


def test_kdump_tools_with_our_drop_in_does_not_reboot(tree):
    tree.kdump_tools()
    tree.put(DROP_IN, (files("fadump.service") / "data" / "kdump-tools.conf").read_bytes())
    assert (only(tree).saves, only(tree).reboots) == (True, False)
    tree.remove(DROP_IN)
    tree.put(DROP_IN, "[Service]\nEnvironment=MORE=1\n")
    assert only(tree).reboots


@pytest.mark.parametrize("settings", ["", "USE_KDUMP=0\n", "#USE_KDUMP=1\n", 'USE_KDUMP=1\nUSE_KDUMP="0"\n'])
def test_kdump_tools_that_its_settings_switch_off(tree, settings):
    tree.kdump_tools(settings)
    assert only(tree).obstacle == "USE_KDUMP in /etc/default/kdump-tools is 0"


def test_what_a_removed_package_leaves_is_no_service(tree):
    tree.put("/etc/default/kdump-tools", "USE_KDUMP=1\n")
    assert savers(tree.files) == []


HERE = "/var/crash/here"


@pytest.mark.parametrize(("target", "place"), [
    ("", Place(HERE, HERE)),
    ("ssh user@there", Place(f"ssh://user@there {HERE}", server=Server("there", 22))),
    ("nfs there:/export", Place(f"nfs://there:/export {HERE}", server=Server("there", 2049))),
    ("ext4 UUID=0313-8356", Place(f"UUID=0313-8356 {HERE}")),
    ("raw /dev/sdb", Place("/dev/sdb")),
])  # fmt: skip
def test_kdump_utils_saves_where_kdump_conf_says(tree, target, place):
    tree.unit("kdump.service")
    tree.put("/etc/kdump.conf", KDUMP_CONF.format(target=target))
    tree.put("/etc/sysconfig/kdump", 'KDUMP_COMMANDLINE=""\n')
    saver = only(tree)
    assert (saver.service, saver.places) == (Service.KDUMP_UTILS, (place,))
    assert (saver.level, saver.reboots, saver.saves) == (17, True, True)


@pytest.mark.parametrize(("enabled", "fadump", "obstacle"), [
    ("1", "true", None), ("1", "yes", None), ("0", "false", None),
    ("1", "false", "KDUMP_FADUMP in /etc/sysconfig/kdump is not true, so its initrd has nothing that saves a dump"),
])  # fmt: skip
def test_opensuse_has_an_initrd_for_one_of_both(tree, enabled, fadump, obstacle):
    tree.unit("kdump.service")
    tree.put("/sys/kernel/fadump/enabled", f"{enabled}\n")
    tree.put(
        "/etc/sysconfig/kdump", f'KDUMP_SAVEDIR="file:///srv/crash"\nKDUMP_FADUMP="{fadump}"\nKDUMP_DUMPLEVEL=29\n'
    )
    saver = only(tree)
    assert (saver.service, saver.places) == (Service.SUSE, (Place("/srv/crash", "/srv/crash"),))
    assert (saver.level, saver.reboots, saver.obstacle) == (29, True, obstacle)


@pytest.mark.parametrize(("url", "place"), [
    ("", Place("/var/crash", "/var/crash")),
    ("nfs://there/crash", Place("nfs://there/crash", server=Server("there", 2049))),
    ("sftp://me:word@there:2222/crash", Place("sftp://me:word@there:2222/crash", server=Server("there", 2222))),
])  # fmt: skip
def test_opensuse_s_other_places_and_going_on(tree, url, place):
    tree.unit("kdump.service")
    tree.put("/etc/sysconfig/kdump", f"KDUMP_SAVEDIR={url}\nKDUMP_IMMEDIATE_REBOOT=no\n")
    saver = only(tree)
    assert (saver.places, saver.level, saver.reboots) == ((place,), 31, False)


def test_a_unit_is_what_systemd_s_links_make_of_it(tree):
    name = "some.service"
    assert unit_state(tree.files, name) is UnitState.MISSING
    tree.put(f"{UNITS}/{name}", "[Unit]\n")
    assert unit_state(tree.files, name) is UnitState.DISABLED
    tree.link(f"{WANTS}/{name}", f"{UNITS}/{name}")
    assert unit_state(tree.files, name) is UnitState.ENABLED
    tree.link(f"/etc/systemd/system/{name}", "/dev/null")
    assert unit_state(tree.files, name) is UnitState.MASKED


def test_a_unit_may_be_required_or_come_with_its_target(tree):
    tree.put("/lib/systemd/system/some.service", "[Unit]\n")
    tree.link("/lib/systemd/system/sysinit.target.requires/some.service", "../some.service")
    assert unit_state(tree.files, "some.service") is UnitState.ENABLED


def test_a_shell_s_settings():
    text = "A=1 # one\n  export B='two words'\n#C=3\nD=\"un\nE=\nA=2\nno setting\n"
    assert shell_settings(text) == {"A": "2", "B": "two words", "D": '"un', "E": ""}


TWO_TARGETS = """\
[save]
level = [1, 31]
[[target]]
type = "directory"
path = "/srv/crash"
[[target]]
type = "directory"
"""


@pytest.mark.parametrize(("config", "places", "level"), [
    (None, ["/var/crash"], 31), (TWO_TARGETS, ["/srv/crash", "/var/crash"], 1),
])  # fmt: skip
def test_our_own_saves_where_its_configuration_says(tree, config, places, level):
    tree.unit("fadump-capture.service")
    if config is not None:
        tree.put("/etc/fadump.toml", config)
    saver = only(tree)
    assert (saver.service, saver.place) == (Service.OURS, ", or else to ".join(places))
    assert saver.places == tuple(Place(place, place) for place in places)
    assert (saver.level, saver.reboots, saver.saves) == (level, False, True)


@pytest.mark.parametrize(("url", "server"), [
    ("ssh://user@there/var/crash", Server("there", 22)), ("ssh://there:2222/crash", Server("there", 2222)),
    ("nfs://there/crash", Server("there", 2049)), ("nfs://there:2050/crash", Server("there", 2050)),
])  # fmt: skip
def test_our_own_on_another_machine(tree, url, server):
    tree.unit("fadump-capture-network.service")
    tree.put("/etc/fadump.toml", f'[[target]]\ntype = "{url[:3]}"\nurl = "{url}"\n')
    saver = only(tree)
    assert (saver.name, [place.server for place in saver.places]) == ("fadump-capture-network.service", [server])


def test_our_own_has_to_wait_for_a_network_that_it_needs(tree):
    tree.unit("fadump-capture.service")
    tree.unit("fadump-capture-network.service", enabled=False)
    tree.put("/etc/fadump.toml", '[[target]]\ntype = "ssh"\nurl = "ssh://there/crash"\n')
    saver = only(tree)
    assert saver.obstacle == "fadump-capture.service comes before the network, where all of its targets are"
    assert saver.mend == "systemctl enable fadump-capture-network.service"
    tree.link(f"{WANTS}/fadump-capture-network.service", f"{UNITS}/fadump-capture-network.service")
    assert (only(tree).name, only(tree).saves) == ("fadump-capture-network.service", True)


def test_our_own_with_a_wrong_configuration_saves_nothing(tree):
    tree.unit("fadump-capture.service")
    tree.put("/etc/fadump.toml", "on_failure = 3\nkep = 1\n")
    saver = only(tree)
    assert saver.obstacle.startswith("/etc/fadump.toml: line 2: kep is no setting: did you mean keep?")
    assert saver.obstacle.endswith("(and 1 more)") and saver.mend == "fadump doctor --config /etc/fadump.toml"


def test_our_own_saves_nothing_where_the_library_that_is_to_pack_is_missing(tree, monkeypatch):
    monkeypatch.setattr(codecs, "_LZO_LIBRARY", "libno-such-thing.so.9")
    tree.unit("fadump-capture.service")
    tree.put("/etc/fadump.toml", '[save]\ncompress = "lzo"\n')
    codecs.lzo_function.cache_clear()
    (here,) = savers(replace(tree.files, is_running_system=True))
    lacking = "pages packed with LZO need libno-such-thing.so.9, which isn't here: apt-get install liblzo2-2"
    assert here.obstacle == f"/etc/fadump.toml: {lacking}"
    assert only(tree).saves, "another system has libraries of its own"
    codecs.lzo_function.cache_clear()
