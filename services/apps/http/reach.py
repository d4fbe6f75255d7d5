"""How far a caller sees: a merchant's credential its own environment, a platform key whatever it names."""

from services.apps.store.api_keys import Reach
from shared.auth.access import Access
from shared.contracts.access import Environment
from shared.http.problems import Problem


def reach_of(access: Access, merchant_id: str | None = None, environment: Environment | None = None) -> Reach:
    """The caller's reach, narrowed by what the request names; a merchant's credential names nothing."""
    if access.kind == "platform":
        return Reach(merchant_id, environment)
    for param, given in (("merchant_id", merchant_id), ("environment", environment)):
        if given is not None:
            raise Problem("NOT_ALLOWED", f"{param}: Only a platform key names it.", param=param)
    return Reach(access.merchant, access.environment)
