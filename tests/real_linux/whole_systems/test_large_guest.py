"""A guest that is many times as large as the computer it runs on: its memory is a sparse file on a disk."""

SAVE = "/usr/bin/makedumpfile -d 31 /proc/vmcore /var/crash/today/vmcore"


def test_a_guest_of_256_gib_is_rehearsed(rehearse, makedumpfile):
    status, result, said = rehearse("--verify", "--memory", "256G", save=SAVE, program=makedumpfile)
    assert (status, result["result"]) == (0, "saved"), said
    assert result["dump"]["check"] == "whole"
    assert result["verified"]["bytes_different"] == 0 and not result["verified"]["registers_different"]
    assert result["verified"]["bytes_compared"] > 256 << 20  # a descriptor of 64 bytes for each page of 64 KiB
