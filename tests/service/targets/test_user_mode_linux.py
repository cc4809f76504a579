"""What runs tests in another Linux doesn't wait for one that has panicked."""

from tests.service.targets import user_mode_linux


def test_a_panic_is_the_end_of_it(tmp_path, monkeypatch):
    monkeypatch.setattr(user_mode_linux, "_INIT", "#!/bin/sh\nexit 3\n")
    said = user_mode_linux.run_inside(tmp_path, "none.py")
    assert "Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000300" in said
