"""What every connector answers, once and for ever."""

import asyncio

import pytest

from services.payments.connectors.manual import ManualConnector
from services.payments.connectors.sandbox import SandboxConnector
from services.payments.core.asking import ActionRequired, Approved, Declined, Means
from tests.contract.connectors.scene import CAN, PROCESSOR, Scene, approved, every, having

pytestmark = pytest.mark.servers


def test_what_is_left_out_is_said() -> None:
    assert {"manual": frozenset(), "sandbox_in_process": PROCESSOR, "sandbox_over_http": PROCESSOR} == CAN


@every()
async def test_money_is_collected_in_one_step(scene: Scene) -> None:
    answer = await scene.sold(4_999)
    assert (answer.amount_minor, answer.captured, answer.ends_at) == (4_999, True, None)


@every()
async def test_money_is_held_captured_in_parts_and_the_rest_let_go(scene: Scene) -> None:
    payment = await scene.held(5_000)
    assert (payment.amount_minor, payment.captured) == (5_000, False)
    captures = [approved(await scene.do("capture", payment, amount)) for amount in (2_000, 1_500)]
    assert [capture.amount_minor for capture in captures] == [2_000, 1_500]
    assert len({payment.reference, *(capture.reference for capture in captures)}) == 3
    assert approved(await scene.do("void", payment, 1_500)).amount_minor == 1_500


@every()
async def test_a_hold_is_let_go_in_parts(scene: Scene) -> None:
    payment = await scene.held(5_000)
    assert approved(await scene.do("void", payment, 1_000)).amount_minor == 1_000
    assert approved(await scene.do("capture", payment, 4_000)).amount_minor == 4_000


@every()
async def test_money_goes_back_in_parts(scene: Scene) -> None:
    payment = await scene.sold(5_000)
    answers = [approved(await scene.do("refund", payment, amount)) for amount in (1_000, 4_000)]
    assert [answer.amount_minor for answer in answers] == [1_000, 4_000]
    assert len({answer.reference for answer in answers}) == 2


@every()
@pytest.mark.parametrize("operation", ["authorize", "capture", "void", "refund"])
async def test_the_same_again_is_answered_the_same_and_found(scene: Scene, operation: str) -> None:
    if operation == "authorize":
        asked = scene.asked()
    else:
        asked = scene.on(operation, await (scene.sold() if operation == "refund" else scene.held()), 2_000)
    do = getattr(scene.connector, operation)
    first = approved(await do(asked))
    assert await do(asked) == first
    assert await scene.connector.look_up(asked) == first
    assert await do(asked) == first


@every()
async def test_the_same_twenty_times_at_once_has_one_answer(scene: Scene) -> None:
    asked = scene.asked()
    answers = await asyncio.gather(*(scene.connector.authorize(asked) for _ in range(20)))
    assert set(answers) == {approved(answers[0])}
    payment = await scene.held()
    capture = scene.on("capture", payment, 1_000)
    answers = await asyncio.gather(*(scene.connector.capture(capture) for _ in range(20)))
    assert set(answers) == {approved(answers[0])}
    if "ledger" in CAN[scene.kind]:
        assert await scene.moved() == [("sale", 5_000), ("hold", 5_000), ("capture", 1_000)]


@having("tokens")
@pytest.mark.parametrize("code", ["insufficient_funds", "lost_card", "expired_card", "do_not_honor", "incorrect_cvc"])
async def test_each_reason_to_decline(scene: Scene, code: str) -> None:
    asked = scene.asked(token=f"sandbox_decline_{code}")
    answer = await scene.connector.authorize(asked)
    assert isinstance(answer, Declined)
    assert answer.code == code
    assert await scene.connector.look_up(asked) == answer
    assert await scene.moved() == []


@having("tokens")
async def test_half_is_approved_where_half_will_do(scene: Scene) -> None:
    half = scene.asked(amount=4_999, token="sandbox_partial_approval", partial=True)
    assert approved(await scene.connector.authorize(half)).amount_minor == 2_499
    assert await scene.moved() == [("sale", 2_499)]
    too_little = scene.asked(amount=1, token="sandbox_partial_approval", partial=True)
    for whole in (scene.asked(token="sandbox_partial_approval"), too_little):
        answer = await scene.connector.authorize(whole)
        assert isinstance(answer, Declined)
        assert answer.code == "insufficient_funds"
    assert await scene.moved() == [("sale", 2_499)]


@having("challenges")
@pytest.mark.parametrize("capture", [True, False])
async def test_a_challenge_is_approved(scene: Scene, capture: bool) -> None:
    asked = scene.asked(token="sandbox_challenge", capture=capture)
    challenge = await scene.connector.authorize(asked)
    assert isinstance(challenge, ActionRequired)
    assert challenge.url.startswith(f"{scene.base_url}/sandbox/challenge/")
    assert await scene.connector.look_up(asked) == challenge
    assert await scene.moved() == []
    await scene.answer_challenge(challenge.url)
    found = approved(await scene.connector.look_up(asked))
    assert (found.reference, found.amount_minor, found.captured) == (challenge.reference, 5_000, capture)
    assert await scene.moved() == [("sale" if capture else "hold", 5_000)]
    await scene.answer_challenge(challenge.url, approves=False)
    assert await scene.connector.look_up(asked) == found
    assert await scene.connector.authorize(asked) == challenge


@having("challenges")
@pytest.mark.parametrize(("token", "approves"), [("sandbox_challenge", False), ("sandbox_challenge_fail", True)])
async def test_a_challenge_fails(scene: Scene, token: str, approves: bool) -> None:
    asked = scene.asked(token=token)
    challenge = await scene.connector.authorize(asked)
    assert isinstance(challenge, ActionRequired)
    await scene.answer_challenge(challenge.url, approves=approves)
    found = await scene.connector.look_up(asked)
    assert isinstance(found, Declined)
    assert found.code == "authentication_failed"
    assert await scene.moved() == []


@having("challenges", "clock")
async def test_a_challenge_runs_out(scene: Scene) -> None:
    asked = scene.asked(token="sandbox_challenge")
    challenge = await scene.connector.authorize(asked)
    assert isinstance(challenge, ActionRequired)
    scene.clock.turn(minutes=15)
    found = await scene.connector.look_up(asked)
    assert isinstance(found, Declined)
    assert found.code == "challenge_expired"
    await scene.answer_challenge(challenge.url)
    assert await scene.connector.look_up(asked) == found
    assert await scene.moved() == []


@having("challenges")
async def test_a_challenge_that_is_voided_can_no_longer_be_approved(scene: Scene) -> None:
    asked = scene.asked(token="sandbox_challenge")
    challenge = await scene.connector.authorize(asked)
    assert isinstance(challenge, ActionRequired)
    void = scene.asked("void", 0, reference=challenge.reference)
    assert await scene.connector.void(void) == Approved(challenge.reference, 0)
    await scene.answer_challenge(challenge.url)
    found = await scene.connector.look_up(asked)
    assert isinstance(found, Declined)
    assert found.code == "canceled"
    assert await scene.moved() == []


@having("clock")
async def test_a_refund_that_comes_back_late_is_found_so(scene: Scene) -> None:
    payment = await scene.sold(token="sandbox_refund_fails_late")
    asked = scene.on("refund", payment, 2_000)
    answer = approved(await scene.connector.refund(asked))
    assert await scene.connector.look_up(asked) == answer
    scene.clock.turn(seconds=3)
    found = await scene.connector.look_up(asked)
    assert isinstance(found, Declined)
    assert found.code == "refund_failed"
    assert await scene.connector.refund(asked) == answer
    assert await scene.moved() == [("sale", 5_000), ("refund", 2_000), ("refund_reversal", 2_000)]
    assert isinstance(await scene.do("refund", payment, 5_000), Approved)


@every()
def test_what_can_be_paid_with(scene: Scene) -> None:
    assert scene.connector.objection(scene.means()) is None


def test_what_each_connector_objects_to() -> None:
    manual, sandbox = ManualConnector(), SandboxConnector.__new__(SandboxConnector)
    assert manual.objection(Means("card", token="sandbox_approve")) == "A payment by card cannot be taken by hand."
    assert manual.objection(Means("external")) == "A payment that was taken elsewhere needs its reference."
    assert manual.objection(Means("external", reference="slip 7")) is None
    assert manual.objection(Means("check", tendered_minor=500)) == "Only cash is tendered."
    assert sandbox.objection(Means("card", token="4242424242424242")) is not None
    assert sandbox.objection(Means("wallet")) is not None


async def test_cash_has_to_be_enough() -> None:
    scene = Scene("manual", ManualConnector())
    enough = scene.asked(amount=900, means=Means("cash", tendered_minor=1_000))
    assert approved(await scene.connector.authorize(enough)).amount_minor == 900
    short = scene.asked(amount=1_001, means=Means("cash", tendered_minor=1_000))
    answer = await scene.connector.authorize(short)
    assert isinstance(answer, Declined)
    assert answer.code == "tendered_too_little"
    assert await scene.connector.look_up(short) == answer
