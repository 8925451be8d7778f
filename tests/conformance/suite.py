"""What all suites for the storage ports share: the fixture that an adapter must provide."""

from abc import ABC, abstractmethod

import pytest

from functions._adapters.stores import Stores


class StoresSuite(ABC):
    """Base of the suites. An adapter's test class inherits a suite and says what `stores` is."""

    @pytest.fixture
    @abstractmethod
    def stores(self) -> Stores:
        """Give new, empty stores."""
