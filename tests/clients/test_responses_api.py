"""`openai(model)` of the AI SDK asks /v1/responses, which is not served: the error names the path to use."""

import pytest

from tests.clients.catalogue import AI_SDK_DEFAULT
from tests.clients.rig import Rig


@pytest.mark.skipif(not AI_SDK_DEFAULT.installed, reason="`make clients` installs this client")
@pytest.mark.parametrize("mode", ["stream", "whole"])
def test_the_ai_sdks_default_model_gets_an_error_that_names_the_path_to_use(rig: Rig, mode: str) -> None:
    outcome = rig.chat(AI_SDK_DEFAULT, mode, "none")
    assert outcome.requests == 0
    error = outcome.seen["error"]
    assert error["status"] == 404
    assert "/v1/chat/completions" in error["message"]
