"""Which connector takes what."""

from services.payments.connectors.guarded import GuardedConnector
from services.payments.connectors.manual import ManualConnector
from services.payments.connectors.port import Connector
from services.payments.connectors.sandbox import SandboxConnector
from services.payments.connectors.sandbox_http import HttpAcquirer
from services.payments.core.reconciling import AT_THE_ACQUIRER
from shared.contracts.order_parts import MethodType
from shared.contracts.sandbox import Acquirer
from shared.settings import SandboxSettings


class Connectors:
    """The connectors of one process.

    Cards and wallets go to the sandbox in test environments, and nowhere in live ones; everything else is taken by
    hand. The sandbox is `acquirer` where it runs in this process, otherwise the one at its URL.
    """

    def __init__(self, settings: SandboxSettings, acquirer: Acquirer | None = None) -> None:
        self._http = HttpAcquirer(settings.url, settings.secret) if acquirer is None and settings.url else None
        self.ledger: Acquirer | None = acquirer or self._http
        """Whose books the orders can be compared with."""
        asked = self.ledger
        self._sandbox = GuardedConnector(SandboxConnector(asked), settings.concurrency) if asked else None
        self._manual = ManualConnector()

    def taking(self, method: MethodType, environment: str) -> Connector | None:
        """Who takes this; nobody may."""
        if method not in AT_THE_ACQUIRER:
            return self._manual
        return self._sandbox if environment == "test" else None

    def named(self, name: str) -> Connector | None:
        """The one that an attempt was made with, where this process still has it."""
        return next((each for each in (self._sandbox, self._manual) if each is not None and each.name == name), None)

    async def close(self) -> None:
        """Nothing is connected afterwards."""
        if self._http is not None:
            await self._http.close()
