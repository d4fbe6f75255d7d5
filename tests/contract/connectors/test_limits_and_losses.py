"""What a processor refuses, what gets lost on the way, and what it then can be asked."""

import asyncio

import pytest

from services.payments.core.asking import ActionRequired, Answer, Approved, Declined, NeverArrived, Unknown
from services.sandbox.acquirer import SandboxAcquirer
from tests.contract.connectors.scene import Scene, another_amount, approved, having

pytestmark = pytest.mark.servers


def code(answer: object) -> str:
    assert isinstance(answer, Declined), answer
    return answer.code


@having("limits", "ledger")
async def test_never_more_than_is_held(scene: Scene) -> None:
    payment = await scene.held(5_000)
    assert code(await scene.do("capture", payment, 5_001)) == "exceeds_authorization"
    assert code(await scene.do("void", payment, 5_001)) == "exceeds_authorization"
    assert isinstance(await scene.do("capture", payment, 3_000), Approved)
    assert code(await scene.do("capture", payment, 2_001)) == "exceeds_authorization"
    assert code(await scene.do("capture", payment, 0)) == "invalid_request"
    assert await scene.moved() == [("hold", 5_000), ("capture", 3_000)]


@having("limits", "ledger")
async def test_two_captures_of_the_same_money_at_once(scene: Scene) -> None:
    payment = await scene.held(5_000)
    answers = await asyncio.gather(*(scene.do("capture", payment, 3_000) for _ in range(5)))
    assert sorted(type(answer).__name__ for answer in answers) == ["Approved", *["Declined"] * 4]
    assert await scene.moved() == [("hold", 5_000), ("capture", 3_000)]


@having("limits", "ledger")
async def test_capture_after_void(scene: Scene) -> None:
    payment = await scene.held(5_000)
    assert approved(await scene.do("void", payment, 0)).amount_minor == 5_000
    assert code(await scene.do("capture", payment, 1)) == "authorization_voided"
    assert code(await scene.do("void", payment, 0)) == "authorization_voided"
    assert await scene.moved() == [("hold", 5_000), ("void", 5_000)]


@having("limits", "ledger")
async def test_void_after_capture(scene: Scene) -> None:
    payment = await scene.held(5_000)
    await scene.do("capture", payment, 5_000)
    assert code(await scene.do("void", payment, 0)) == "nothing_held"
    sale = await scene.sold(700)
    assert code(await scene.do("void", sale, 700)) == "nothing_held"
    assert await scene.moved() == [("hold", 5_000), ("capture", 5_000), ("sale", 700)]


@having("limits", "ledger")
async def test_never_more_back_than_was_captured(scene: Scene) -> None:
    payment = await scene.held(5_000)
    assert code(await scene.do("refund", payment, 1)) == "exceeds_captured"
    await scene.do("capture", payment, 3_000)
    assert isinstance(await scene.do("refund", payment, 2_000), Approved)
    assert code(await scene.do("refund", payment, 1_001)) == "exceeds_captured"
    assert await scene.moved() == [("hold", 5_000), ("capture", 3_000), ("refund", 2_000)]


@having("limits", "ledger")
async def test_another_merchants_payment_or_currency_is_none(scene: Scene) -> None:
    payment = await scene.held()
    assert code(await scene.do("capture", payment, 1, merchant_id="mer_other")) == "unknown_payment"
    assert code(await scene.do("void", payment, 1, currency="USD")) == "currency_mismatch"
    assert code(await scene.connector.refund(scene.asked("refund", 1))) == "unknown_payment"
    assert await scene.moved() == [("hold", 5_000)]


@having("limits", "ledger")
async def test_there_is_no_live_money(scene: Scene) -> None:
    asked = scene.asked(environment="live")
    assert code(await scene.connector.authorize(asked)) == "live_not_supported"
    assert code(await scene.connector.look_up(asked)) == "live_not_supported"
    assert await scene.moved() == []


@having("clock", "ledger")
async def test_a_hold_runs_out_after_a_week(scene: Scene) -> None:
    payment = await scene.held(5_000)
    await scene.do("capture", payment, 2_000)
    assert payment.ends_at is not None
    assert (payment.ends_at - scene.clock.now).total_seconds() == pytest.approx(7 * 86_400, abs=0.1)
    scene.clock.turn(days=7)
    assert await scene.moved() == [("hold", 5_000), ("capture", 2_000), ("expiry", 3_000)]
    assert code(await scene.do("capture", payment, 1)) == "authorization_expired"
    assert isinstance(await scene.do("refund", payment, 2_000), Approved)


@having("clock", "ledger")
async def test_a_hold_of_one_token_is_gone_when_it_is_captured(scene: Scene) -> None:
    payment = await scene.held(5_000, "sandbox_authorization_expires")
    assert payment.ends_at is not None
    assert (payment.ends_at - scene.clock.now).total_seconds() == pytest.approx(1, abs=0.1)
    assert code(await scene.do("capture", payment, 5_000)) == "authorization_expired"
    assert await scene.moved() == [("hold", 5_000), ("expiry", 5_000)]
    second = await scene.held(900, "sandbox_authorization_expires")
    scene.clock.turn(seconds=1)
    assert code(await scene.do("void", second, 0)) == "authorization_expired"


@having("closes", "ledger")
@pytest.mark.parametrize("operation", ["authorize", "capture", "void", "refund"])
async def test_what_was_asked_about_before_it_came_is_never_done(scene: Scene, operation: str) -> None:
    payment = await scene.held(700)
    asked = scene.on(operation, payment, 700)
    assert await scene.connector.look_up(asked) == NeverArrived()
    assert code(await getattr(scene.connector, operation)(asked)) == "canceled"
    assert await scene.connector.look_up(asked) == NeverArrived()
    assert await scene.moved() == [("hold", 700)]


@having("closes", "ledger")
async def test_whoever_comes_first_wins_between_a_request_and_a_look_up(scene: Scene) -> None:
    async def race() -> int:
        asked = scene.asked(amount=100)
        answer, found = await asyncio.gather(scene.connector.authorize(asked), scene.connector.look_up(asked))
        if isinstance(answer, Approved):
            assert found == answer
            return answer.amount_minor
        assert (code(answer), found) == ("canceled", NeverArrived())
        return 0

    taken = sum([await race() for _ in range(20)])
    assert sum(amount for _, amount in await scene.moved()) == taken


@having("limits", "ledger")
async def test_another_request_with_the_same_id_is_refused_and_moves_nothing(scene: Scene) -> None:
    asked = scene.asked()
    first = approved(await scene.connector.authorize(asked))
    assert isinstance(await scene.connector.authorize(another_amount(asked)), Unknown)
    assert isinstance(await scene.do("capture", first, 1, attempt_id=asked.attempt_id), Unknown)
    assert await scene.connector.look_up(asked) == first
    assert await scene.moved() == [("sale", 5_000)]


LATER = ("capture", "void", "refund")


async def lossy(scene: Scene, token: str, operation: str) -> tuple[list[tuple[str, int]], Answer, Answer]:
    """What moved before, what was answered, and what was then found."""
    suffix = "" if operation == "authorize" else f"_on_{operation}"
    if operation == "authorize":
        asked = scene.asked(token=token)
    else:
        payment = await (scene.sold if operation == "refund" else scene.held)(token=token + suffix)
        asked = scene.on(operation, payment, 5_000)
    before = await scene.moved()
    answer = await getattr(scene.connector, operation)(asked)
    return before, answer, await scene.connector.look_up(asked)


@having("loses", "ledger")
@pytest.mark.parametrize("operation", ["authorize", *LATER])
async def test_a_reply_gets_lost_and_the_money_has_moved(scene: Scene, operation: str) -> None:
    before, answer, found = await lossy(scene, "sandbox_lost_reply", operation)
    assert isinstance(answer, Unknown)
    assert approved(found).amount_minor == 5_000
    kind = "sale" if operation == "authorize" else operation
    assert await scene.moved() == [*before, (kind, 5_000)]


@having("loses", "ledger")
@pytest.mark.parametrize("operation", ["authorize", *LATER])
async def test_a_request_gets_lost_and_nothing_has_moved(scene: Scene, operation: str) -> None:
    before, answer, found = await lossy(scene, "sandbox_lost_request", operation)
    assert isinstance(answer, Unknown)
    assert found == NeverArrived()
    assert await scene.moved() == before


@having("loses", "ledger")
async def test_a_repeat_of_what_got_lost(scene: Scene) -> None:
    reply, request = scene.asked(token="sandbox_lost_reply"), scene.asked(token="sandbox_lost_request")
    assert isinstance(await scene.connector.authorize(reply), Unknown)
    assert isinstance(await scene.connector.authorize(reply), Approved)
    assert isinstance(await scene.connector.authorize(request), Unknown)
    assert isinstance(await scene.connector.authorize(request), Unknown)
    assert await scene.connector.look_up(request) == NeverArrived()
    assert code(await scene.connector.authorize(request)) == "canceled"
    assert await scene.moved() == [("sale", 5_000)]


@having("loses", "ledger")
async def test_a_request_that_comes_in_twice_has_one_effect(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    came = 0
    process = SandboxAcquirer._process

    async def counted(*arguments: object) -> object:
        nonlocal came
        came += 1
        return await process(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(SandboxAcquirer, "_process", counted)
    asked = scene.asked(token="sandbox_duplicate_reply")
    answer = approved(await scene.connector.authorize(asked))
    assert came == 2
    assert await scene.connector.look_up(asked) == answer
    assert await scene.moved() == [("sale", 5_000)]


SLOW_AT_ONCE = {"sandbox_in_process": 1_000, "sandbox_over_http": 100}
"""Over HTTP fewer: as many connections at once say more of the machine than of us."""


@having("clock", "ledger")
async def test_slow_answers_do_not_hold_up_the_others(scene: Scene) -> None:
    many = SLOW_AT_ONCE[scene.kind]
    slow = [scene.asked(amount=10, token="sandbox_slow") for _ in range(many)]
    waiting = asyncio.gather(*(scene.connector.authorize(asked) for asked in slow))
    try:
        await scene.sleeping.until(many)
        assert isinstance(await scene.connector.authorize(scene.asked(amount=7)), Approved)
        found = await scene.connector.look_up(slow[-1])
        assert not waiting.done()
    finally:
        scene.sleeping.woken.set()
        answers = await waiting
    assert answers[-1] == found
    assert {type(answer) for answer in answers} == {Approved}


@having("challenges")
async def test_an_address_that_nobody_gave_out_leads_nowhere(scene: Scene) -> None:
    challenge = await scene.connector.authorize(scene.asked(token="sandbox_challenge"))
    assert isinstance(challenge, ActionRequired)
    assert scene.process is not None
    for secret in (challenge.reference, f"{challenge.reference}.", challenge.url.rpartition("/")[2][:-1] + "!", "é"):
        assert await scene.process.acquirer.answer_challenge(secret, approves=True) is None
    assert await scene.moved() == []
