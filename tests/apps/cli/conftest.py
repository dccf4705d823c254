import pytest

from tests.helpers.command import Command


@pytest.fixture
def usbmon(capsysbinary) -> Command:
    return Command(capsysbinary)
