"""The emulators of the AWS-shaped world."""

import os
from collections.abc import Iterator

import pytest

from tests.aws.stack import Cloud
from tests.conftest import require
from tests.support import dynamodb as emulators
from tests.support.dynamodb import Emulator


@pytest.fixture(scope="session")
def cloud(dynamodb: Emulator) -> Iterator[Cloud]:
    """Give the services of AWS: those of ministack, but DynamoDB from where `FLOWC_TEST_DYNAMODB_URL` says."""
    if not os.environ.get("FLOWC_TEST_DYNAMODB_URL"):
        yield Cloud(dynamodb.url, dynamodb.url)
        return
    require(emulators.PYTHON.exists(), emulators.HOW)
    with emulators.ministack() as others:
        yield Cloud(others.url, dynamodb.url)
