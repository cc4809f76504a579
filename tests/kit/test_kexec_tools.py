"""kexec-tools in the cache; that they start a kernel, tests/real_linux/more_kernels/test_petitboot.py has."""

import pytest

from fadump.errors import SetupError
from fadump.kit.kexec_tools import kexec_tools
from tests.kit.conftest import make_deb

LIBRARIES = "usr/lib/powerpc64le-linux-gnu"


@pytest.mark.parametrize("place", ["sbin/kexec", "usr/sbin/kexec"])
def test_the_program_and_what_it_runs_with_are_fetched_once(archive, tmp_path, place):
    files = {place: b"KEXEC", "etc/init.d/kexec": b"#!/bin/sh"}
    tools = make_deb(tmp_path, "kexec-tools", "1:2.0-1", "ppc64el", files, depends="libc6")
    libraries = {f"{LIBRARIES}/ld64.so.2": b"LOADER", f"{LIBRARIES}/libc.so.6": b"LIBC", f"{LIBRARIES}/libm.so.6": b"M"}
    archive.publish("bookworm", tools, make_deb(tmp_path, "libc6", "2.36-1", "ppc64el", libraries))
    found = {
        "/usr/sbin/kexec": b"KEXEC",
        "/lib64/ld64.so.2": b"LOADER",
        "/lib/powerpc64le-linux-gnu/libc.so.6": b"LIBC",
    }
    assert kexec_tools() == found
    archive.publish("bookworm", make_deb(tmp_path, "other", "1", "ppc64el", {}))
    assert kexec_tools() == found


@pytest.mark.parametrize("lacking", ["kexec", "ld64.so.2"])
def test_a_package_without_it_is_told_and_nothing_is_kept(archive, cache, tmp_path, lacking):
    files = {"sbin/kexec": b"KEXEC", f"{LIBRARIES}/ld64.so.2": b"LOADER"}
    rest = {path: content for path, content in files.items() if not path.endswith(lacking)}
    archive.publish("bookworm", make_deb(tmp_path, "kexec-tools", "1:2.0-1", "ppc64el", rest))
    with pytest.raises(SetupError, match=f"Debian's kexec-tools for ppc64el has no {lacking}"):
        kexec_tools()
    assert not (cache / "kexec-tools").exists()


def test_a_suite_that_lacks_a_part_of_it_is_passed_over(archive, tmp_path):
    archive.publish("bookworm", make_deb(tmp_path, "kexec-tools", "1:1.0-1", "ppc64el", {}, depends="libmissing"))
    with pytest.raises(SetupError, match="finding what kexec-tools of Debian bookworm depends on failed"):
        kexec_tools()
    files = {"sbin/kexec": b"KEXEC", f"{LIBRARIES}/ld64.so.2": b"LOADER"}
    archive.publish("trixie", make_deb(tmp_path, "kexec-tools", "1:2.0-1", "ppc64el", files))
    assert kexec_tools()["/usr/sbin/kexec"] == b"KEXEC"
