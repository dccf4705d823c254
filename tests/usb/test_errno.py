"""Names and numbers against Python's own table of this Linux, and the kernel's error-codes.rst."""

import errno as system

import pytest

from usbmon.usb import errno

# Two names of one number: Linux's headers define the second by the first.
SECOND_NAMES = {"EDEADLOCK", "ENOTSUP", "EWOULDBLOCK"}


def test_numbers_and_names_are_those_of_linux():
    theirs = {n: name for name, n in vars(system).items() if name.startswith("E")}
    known = {n: name for n, name in theirs.items() if name not in SECOND_NAMES and n < 134}
    wrong = {n: errno.ERRNO.get(n) for n, name in known.items() if errno.ERRNO.get(n) != name}
    # Where a number has two names, Python's module keeps the last it met.
    assert {n: theirs[n] for n in wrong} == {}


# error-codes.rst, "Error codes returned by in urb->status".
@pytest.mark.parametrize(
    ("status", "name", "word"),
    [
        (0, "0", "completed"),
        (-2, "ENOENT", "unlinked"),
        (-115, "EINPROGRESS", "in progress"),
        (-71, "EPROTO", "protocol error"),
        (-84, "EILSEQ", "CRC"),
        (-62, "ETIME", "no response"),
        (-32, "EPIPE", "stalled"),
        (-70, "ECOMM", "overrun"),
        (-63, "ENOSR", "underrun"),
        (-75, "EOVERFLOW", "babble"),
        (-121, "EREMOTEIO", "short"),
        (-19, "ENODEV", "removed"),
        (-18, "EXDEV", "partly"),
        (-22, "EINVAL", "invalid"),
        (-104, "ECONNRESET", "asynchronously"),
        (-108, "ESHUTDOWN", "shut down"),
    ],
)
def test_a_status_of_an_urb_has_a_name_and_a_meaning(status, name, word):
    assert errno.status_name(status) == name
    assert word in errno.status_meaning(status)


@pytest.mark.parametrize("status", [1, -9999, 2**31 - 1, -(2**31)])
def test_a_status_that_is_no_errno_stays_a_number(status):
    assert errno.status_name(status) == str(status)
    assert errno.status_meaning(status) == ""


def test_meanings_are_of_errnos_that_have_a_name():
    assert set(errno.MEANING) - {0} <= set(errno.ERRNO)


# usb.h of the Windows driver kit: bits 31 and 30 tell success, pending and two kinds of error.
@pytest.mark.parametrize("code", errno.USBD_STATUS, ids=lambda code: f"{code:#010x}")
def test_an_error_of_windows_is_an_error_here_and_a_success_none(code):
    mapped = errno.errno_of_usbd(code)
    assert (mapped < 0) == (code != 0)
    assert mapped == 0 or -mapped in errno.ERRNO


@pytest.mark.parametrize(
    ("code", "expected"), [(0xC00ABCDE, -71), (0x80001234, -71), (0x40001234, 0), (0x00001234, 0)]
)
def test_a_code_of_windows_that_is_not_known_is_an_error_if_its_top_bit_says_so(code, expected):
    assert errno.errno_of_usbd(code) == expected


def test_functions_have_the_numbers_of_the_driver_kit():
    by_name = {name: number for number, name in errno.URB_FUNCTION.items()}
    assert len(by_name) == len(errno.URB_FUNCTION)
    assert by_name["CONTROL_TRANSFER"] == 0x08
    assert by_name["BULK_OR_INTERRUPT_TRANSFER"] == 0x09
    assert by_name["GET_DESCRIPTOR_FROM_DEVICE"] == 0x0B
    assert by_name["CLASS_INTERFACE"] == 0x1B
