"""Every method of the panels is asked every check of the contract."""

import pytest

from triptych import catalog
from triptych.testing import check_method, checks

METHODS = catalog.methods()


def test_some_methods_were_found():
    # An empty suite is green too.
    assert set(METHODS) >= {
        "coordination.CCA",
        "coordination.CLIP",
        "fusion.MultimodalAutoencoder",
        "fission.SharedPrivate",
    }
    assert len(checks()) > 20


@pytest.mark.parametrize("check", checks(), ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", METHODS)
def test_keeps_the_contract(name, check):
    check_method(METHODS[name], check)
