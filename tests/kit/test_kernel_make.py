"""What a kernel is made with."""

from fadump.kit.kernel_make import make_tools


def test_a_kernel_that_signs_its_modules_needs_openssl_too():
    ours = make_tools({})
    assert make_tools({"MODULE_SIG": "n", "CMA": "y"}) == ours
    signing = make_tools({"MODULE_SIG": "y"})
    assert ours.items() < signing.items()
    assert {signing[tool] for tool in signing.keys() - ours.keys()} == {"libssl-dev", "openssl"}
