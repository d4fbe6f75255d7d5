"""What went wrong, for the person at the keyboard. Imported where something did: what it needs takes a while."""

from confluent_kafka import KafkaException
from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsError

from deploy.local.problem import RuntimeProblem
from shared.faults import Transient
from shared.settings import Misconfigured


def sentence_of(error: Exception) -> str | None:
    """What to tell of it; None where it is our mistake."""
    match error:
        case RuntimeProblem() | Misconfigured() | SettingsError():
            return str(error)
        case Transient():
            return f"A server did not answer, or not as it should: {error}. Try again once it does."
        case KafkaException():
            return f"Kafka refuses it: {error}"
        case ValidationError() if error.title in _prefixes():
            return "\n".join(_of_setting(_prefixes()[error.title], each) for each in error.errors(include_input=False))
    return None


def _of_setting(prefix: str, wrong: ErrorDetails) -> str:
    if not wrong["loc"]:
        return wrong["msg"].removeprefix("Value error, ")
    name = "_".join(str(part) for part in wrong["loc"]).upper()
    return f"The environment's {name if name.startswith(prefix) else prefix + name} cannot be used: {wrong['msg']}."


def _prefixes() -> dict[str, str]:
    """Of every class of settings, by its name."""
    found: list[type[BaseSettings]] = list(BaseSettings.__subclasses__())
    return {each.__name__: each.model_config.get("env_prefix", "") for each in found}
