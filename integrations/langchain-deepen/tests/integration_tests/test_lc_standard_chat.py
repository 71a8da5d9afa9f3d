"""LangChain's own integration tests of chat models, on an ensemble that really decodes."""

from functools import cache
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_deepen import ChatDeepen
from langchain_script import answers
from langchain_scripted import ensemble
from langchain_tests.integration_tests import ChatModelIntegrationTests

shared = cache(lambda: ensemble(answers))


class TestChatDeepenIntegration(ChatModelIntegrationTests):
    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatDeepen

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"ensemble": shared(), "max_tokens": 200}

    @property
    def supports_json_mode(self) -> bool:
        return True

    @property
    def model_override_value(self) -> str:
        return "pieces"
