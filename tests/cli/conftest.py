"""Runs one command on bytes that stand for a file."""

import pytest

from fadump.cli import main


@pytest.fixture
def run_command(tmp_path, capsys):
    """Give it a command's module, the file's content and further words; returns (status, stdout, stderr)."""

    def run(command, data, *more):
        path = tmp_path / "file"
        path.write_bytes(data)
        status = main([command.__name__.rpartition(".")[2], str(path), *more])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run
