"""Who is asking, and what may they do: known from this service's own copy of the grants, without a call elsewhere."""

from shared.auth.access import Access
from shared.auth.grants import GrantsCopy
from shared.auth.guard import OPEN, ApiRequest, authentication, platform_only, requires
from shared.auth.keys import hash_credential, looks_like_key, new_api_key
from shared.auth.table import GRANTS_TABLE, SIGNING_KEYS_TABLE

__all__ = [
    "GRANTS_TABLE",
    "OPEN",
    "SIGNING_KEYS_TABLE",
    "Access",
    "ApiRequest",
    "GrantsCopy",
    "authentication",
    "hash_credential",
    "looks_like_key",
    "new_api_key",
    "platform_only",
    "requires",
]
