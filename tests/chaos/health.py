"""What the services' probes answered during the run, and where that was not the truth."""

from dataclasses import dataclass, field

READY_AGAIN_S = 30.0
_SETTLES_S = 0.5
"""A server that is killed or cut off has not lost every connection at once."""
KAFKA_NOTICED_S = 9.0
"""Workers look every 3 s and wait for 5 s for the broker's answer."""
_MUST_ANSWER_S = 5.0
"""In so long an outage every probe that can be asked is asked, and answers, at least once."""
_SILENT_S = 15.0


@dataclass(frozen=True)
class Answer:
    """What one process said to both probes, in seconds since the run began; no status where it did not answer."""

    service: str
    asked_s: float
    told_s: float
    live: int | None
    ready: int | None
    text: str = ""
    """What it gave as reasons, where it said no."""


@dataclass(frozen=True)
class Outage:
    """A server (`PostgreSQL`, `Kafka`) that no service could reach."""

    server: str
    begun_s: float
    ended_s: float


@dataclass(frozen=True)
class Pause:
    """A service process that could not answer: frozen, not running, or starting."""

    service: str
    begun_s: float
    ended_s: float


@dataclass
class Verdict:
    """What was not true, and how many answers were judged."""

    untrue: list[str] = field(default_factory=list)
    judged: dict[str, int] = field(default_factory=dict)

    def count(self, what: str) -> None:
        self.judged[what] = self.judged.get(what, 0) + 1


def judge(
    answers: list[Answer], outages: list[Outage], pauses: list[Pause], workers: set[str], patience: float = 1.0
) -> Verdict:
    """Ready means that the database (and, for workers, Kafka) can be reached; alive means that a restart is no help.

    No fault of a run gets a consumer stuck for good, so that whoever says that it is not alive either lies or has
    found a fault of its own: both must be known. Whoever runs answers. With `patience`, all of it so many times later.
    """
    verdict = Verdict()
    for answer in answers:
        if answer.live not in (None, 200):
            verdict.untrue.append(f"{answer.asked_s:.0f} s: {answer.service} is not alive: {answer.text}")
        verdict.count("probes: alive" if answer.live == 200 else "probes: no answer, or not alive")
    for outage in outages:
        _judge_outage(verdict, answers, outage, pauses, workers=workers, patience=patience)
    _judge_silence(verdict, answers, pauses, patience)
    return verdict


def _judge_outage(
    verdict: Verdict, answers: list[Answer], outage: Outage, pauses: list[Pause], *, workers: set[str], patience: float
) -> None:
    database = outage.server == "PostgreSQL"
    known_s = outage.begun_s + patience * (_SETTLES_S if database else KAFKA_NOTICED_S)
    heard = set()
    for answer in answers:
        if answer.asked_s < known_s or answer.told_s > outage.ended_s or answer.ready is None:
            continue
        if not database and answer.service not in workers:
            continue
        heard.add(answer.service)
        verdict.count(f"probes: readiness while {outage.server} was away")
        if answer.ready == 200:
            verdict.untrue.append(
                f"{answer.asked_s:.1f} s: {answer.service} is ready, and {outage.server} is away since "
                f"{outage.begun_s:.1f} s until {outage.ended_s:.1f} s"
            )
    if database and outage.ended_s - outage.begun_s >= patience * _MUST_ANSWER_S:
        asked = {answer.service for answer in answers}
        for service in sorted(asked - heard):
            if not any(_overlap(pause, service, outage.begun_s, outage.ended_s) for pause in pauses):
                verdict.untrue.append(f"{outage.begun_s:.0f} s: {service} said nothing while {outage.server} was away")


def _judge_silence(verdict: Verdict, answers: list[Answer], pauses: list[Pause], patience: float) -> None:
    heard: dict[str, float] = {}
    for answer in answers:
        since = heard.setdefault(answer.service, answer.asked_s)
        if answer.live is not None or any(_overlap(pause, answer.service, since, answer.told_s) for pause in pauses):
            heard[answer.service] = answer.told_s
        elif answer.told_s - since > patience * _SILENT_S:
            verdict.untrue.append(f"{since:.0f} s: {answer.service} did not answer for {answer.told_s - since:.0f} s")
            heard[answer.service] = answer.told_s


def _overlap(pause: Pause, service: str, begun_s: float, ended_s: float) -> bool:
    return pause.service == service and pause.begun_s < ended_s and pause.ended_s > begun_s
