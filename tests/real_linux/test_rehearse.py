"""``fadump rehearse`` on a system with a disk and a service of its own, told by what is on the disk afterwards."""


def test_a_system_that_saves_and_releases_passes_with_every_byte_compared(rehearse, tmp_path):
    status, result, said = rehearse("--verify")
    assert (status, result["result"], result.get("error")) == (0, "saved", None), said
    assert (result["service"], result["resets"], result["warnings"]) == ("released", 1, [])
    assert result["dump"]["path"] == "/var/crash/today/vmcore" and result["dump"]["check"] == "whole"
    assert result["verified"]["bytes_different"] == 0 and not result["verified"]["registers_different"]
    assert result["verified"]["bytes_compared"] > 700 << 20
    copies = list((tmp_path / "out").rglob("vmcore"))
    assert [copy.stat().st_mode & 0o777 for copy in copies] == [0o600]
    assert [entry["event"] for entry in result["timeline"]] == [
        *("power_on", "registered", "crash", "preserved", "capture_boot", "production"),
    ]
