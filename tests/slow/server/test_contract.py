"""The OpenAPI document against the service, with three times the requests of `make test`."""

from pathlib import Path

import pytest

from tests.server.test_contract import check_contract


@pytest.mark.timeout(300)  # some thousand requests
def test_the_service_conforms_to_its_openapi_document(tmp_path: Path) -> None:
    check_contract(tmp_path, max_examples=30)
