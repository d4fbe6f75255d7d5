"""The operator's command that publishes every grant again."""

from rich.console import Console
from rich.progress import Progress as Bar

from deploy.local.problem import RuntimeProblem
from services.apps.announcing import Announcer, Progress
from services.apps.store import merchants
from shared.clock import utc_now
from shared.faults import Transient
from shared.postgres import Pool
from shared.settings import Settings

_CONNECTIONS = 2


async def announce_grants(settings: Settings, merchant_id: str | None) -> None:
    """All grants, or those of a merchant, are on their way again; says how far it is, and how many there were."""
    console = Console(stderr=True, highlight=False)
    pool = Pool(settings.database_url.get_secret_value(), "apps", _CONNECTIONS)
    try:
        await pool.open()
        if merchant_id is not None and await merchants.read(pool, merchant_id) is None:
            raise RuntimeProblem(f"There is no merchant {merchant_id}.")
        with Bar(console=console) as bar:
            task = bar.add_task("Grants", total=None)

            def report(progress: Progress) -> None:
                waits = ": waiting for the workers of apps to publish" if progress.waiting else ""
                bar.update(task, description=f"Grants{waits}", completed=progress.done, total=progress.of)

            done = await Announcer(pool, utc_now, report, merchant_id).run()
    except Transient as reason:
        raise RuntimeProblem(f"It could not be finished, and can be run again: {reason}") from None
    finally:
        await pool.close()
    console.print(f"{done} keys and environment grants are announced; the workers of apps publish them.")
