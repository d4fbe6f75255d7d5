"""How clients of Kafka connect as this process."""

import ssl
from typing import Any

from shared.settings import KafkaSettings


def client_options(settings: KafkaSettings) -> dict[str, Any]:
    """Keyword arguments for any aiokafka client that connects as this process."""
    password = settings.sasl_password
    options = {
        "bootstrap_servers": settings.bootstrap_servers,
        "security_protocol": settings.security_protocol,
        "ssl_context": ssl_context(settings),
        "sasl_mechanism": settings.sasl_mechanism,
        "sasl_plain_username": settings.sasl_username,
        "sasl_plain_password": password.get_secret_value() if password else None,
    }
    return {name: value for name, value in options.items() if value is not None}


def ssl_context(settings: KafkaSettings) -> ssl.SSLContext | None:
    """What TLS trusts; None without TLS."""
    if not settings.security_protocol.endswith("SSL"):
        return None
    return ssl.create_default_context(cafile=settings.ssl_cafile)
