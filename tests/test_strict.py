import shutil
from pathlib import Path

import pytest

SKIPPED = "import pytest\ndef test_a(): pass\ndef test_b(): pytest.skip('no reason')\n"


@pytest.fixture
def project(pytester, monkeypatch):
    shutil.copy(Path(__file__).with_name("strict.py"), pytester.path / "conftest.py")
    pytester.makepyfile(test_one=SKIPPED)
    monkeypatch.setenv("CI", "true")
    return pytester


@pytest.fixture(params=[[], ["-n", "2"]], ids=["one process", "two processes"])
def processes(request):
    return request.param


def test_a_skipped_test_fails_ci(project, processes):
    result = project.runpytest_subprocess(*processes)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines("CI wants every test: skipped *test_b")


def test_a_deselected_test_fails_ci(project, processes):
    result = project.runpytest_subprocess("-k", "test_a", *processes)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines("CI wants every test: deselected *test_b")


def test_elsewhere_a_skipped_test_is_no_failure(project, monkeypatch):
    monkeypatch.delenv("CI")
    assert project.runpytest_subprocess().ret == pytest.ExitCode.OK
