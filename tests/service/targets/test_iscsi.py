"""A disk that another machine serves by iSCSI, in a Linux that has it: inside/test_iscsi.py has the tests."""

from tests.service.targets.user_mode_linux import run_inside


def test_all_of_it_in_a_linux_that_has_it(tmp_path):
    said = run_inside(tmp_path, "tests/service/targets/inside/test_iscsi.py")
    assert said is None, said
