"""``fadump rehearse`` where Linux falls back to kdump: another crash than in tests/real_linux, and nothing loaded."""

from tests.real_linux import test_fallback as fallback


def test_what_kdump_saves_after_an_nmi_is_looked_at(rehearse, tmp_path, kernel, kexec):
    fallback.crash_and_look("nmi", rehearse, tmp_path, kernel, kexec)


def test_without_a_kernel_loaded_a_crash_is_not_dumped_at_all(rehearse):
    status, result, said = rehearse("--cmdline", fallback.TOO_LITTLE.replace("panic=5", "panic=0"), "--patience", "0.5")
    assert (status, result["result"]) == (1, "not-registered"), said
    sentence, *_console = result["error"].splitlines()
    not_armed = "a crash was made, and no other kernel was seen to start: kdump is not armed, or silent"
    why = f"{fallback.NOT_REGISTERED}({fallback.REASON})"
    assert sentence == f"{why}; {not_armed}; the kernel has panicked, and has started no other"
    assert result["kdump"]["started"] is False and result["dump"] is None
