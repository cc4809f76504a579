"""A directory that another machine exports, in a Linux that has it: inside/test_nfs.py has the tests."""

from tests.service.targets.user_mode_linux import run_inside


def test_all_of_it_in_a_linux_that_has_it(tmp_path):
    said = run_inside(tmp_path, "tests/service/targets/inside/test_nfs.py")
    assert said is None, said
