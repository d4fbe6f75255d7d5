"""What the API reference shows of merchants, keys and the audit log; a test reads each with its model."""

from typing import Any

Json = dict[str, Any]

_MERCHANT_ID = "mer_01KA6M4T2VQ6W8N3D5ZB7XJ9HC"
_API_KEY_ID = "key_01KA6M5D8Q2H4N6T0VXZJ3B7CW"

NEW_MERCHANT: Json = {
    "name": "Rain & Shine",
    "country": "DE",
    "default_currency": "EUR",
    "time_zone": "Europe/Berlin",
    "metadata": {"crm": "4711"},
}

MERCHANT: Json = {
    "merchant_id": _MERCHANT_ID,
    **NEW_MERCHANT,
    "status": "active",
    "environments": [
        {"environment_id": "env_01KA6M4T2VR7K2M9P4Q6S8T0VX", "environment": "test"},
        {"environment_id": "env_01KA6M4T2VS3N5Q7R9T1V3X5Z7", "environment": "live"},
    ],
    "version": 1,
    "created_at": "2026-11-21T11:58:00Z",
    "updated_at": "2026-11-21T11:58:00Z",
}

NEW_API_KEY: Json = {"name": "Web shop", "scopes": ["orders.write", "payments.read"]}

API_KEY: Json = {
    "api_key_id": _API_KEY_ID,
    "merchant_id": _MERCHANT_ID,
    "environment": "test",
    **NEW_API_KEY,
    "allowed_origins": [],
    "status": "active",
    "prefix": "tl_test_7Kq2mXw9",
    "created_at": "2026-11-21T11:58:00Z",
    "expires_at": None,
    "overlap_ends_at": None,
    "last_used_at": "2026-11-21T12:00:00Z",
}

NEW_SECRET: Json = {**API_KEY, "last_used_at": None, "secret": "tl_test_…"}

AUDIT_ENTRY: Json = {
    "audit_entry_id": "aud_01KA6M6F3R8J1P5V9Y2C4G7K0N",
    "created_at": "2026-11-21T12:00:00Z",
    "actor": {"type": "key", "id": _API_KEY_ID},
    "action": "api_key.rotated",
    "target_id": "key_01KA6M7B4S6L8N0Q2T4W6Y8A1C",
    "merchant_id": _MERCHANT_ID,
    "environment": "test",
    "request_id": "req_01KA6M6F3QZ5X7C9V1B3N5M7L9",
    "changes": {"overlap_ends_at": {"from": None, "to": "2026-11-22T12:00:00Z"}},
}

AUTH_CONTEXT: Json = {
    "kind": "api_key",
    "grant_id": _API_KEY_ID,
    "merchant_id": _MERCHANT_ID,
    "environment": "test",
    "scopes": ["orders.write", "payments.read"],
    "expires_at": None,
    "api_version": "2026-11-01",
}
