"""How many requests may be under way at each endpoint."""

from services.apps.webhook_flow import Flow, Width


def begin(flow: Flow, endpoint: str, count: int = 1) -> None:
    for _ in range(count):
        flow.began(endpoint)


def end(flow: Flow, endpoint: str, *, well: bool = True) -> None:
    flow.answered(endpoint, well=well)
    flow.ended(endpoint)


def free(flow: Flow, endpoint: str) -> int:
    room = flow.room([])
    return room.free.get(endpoint, room.to_each)


def test_what_is_lively_and_has_much_to_send_gets_more_up_to_the_limit() -> None:
    flow, most = Flow(Width(to_one_endpoint=5)), 0
    for _ in range(20):
        begin(flow, "a", free(flow, "a"))
        most = max(most, sum(flow._under_way.values()))
        end(flow, "a")
    assert (most, free(flow, "a")) == (5, 1)


def test_what_stops_answering_holds_few_requests_however_lively_it_was() -> None:
    flow = Flow(Width())
    for _ in range(1_000):
        assert free(flow, "a") == 2
        begin(flow, "a")
        end(flow, "a")
    begin(flow, "a", free(flow, "a"))
    assert free(flow, "a") == 0
    assert sum(flow._under_way.values()) == 2


def test_what_answered_before_the_next_turn_has_as_much_room_then() -> None:
    flow, began = Flow(Width(to_one_endpoint=8)), []
    for _ in range(4):
        began.append(free(flow, "a"))
        begin(flow, "a", began[-1])
        for _ in range(began[-1]):
            end(flow, "a")
    assert began == [2, 4, 8, 8]


def test_what_failed_gets_one_at_a_time() -> None:
    flow = Flow(Width())
    begin(flow, "a", 2)
    end(flow, "a", well=False)
    assert free(flow, "a") == 0
    end(flow, "a")
    assert free(flow, "a") == 2


def test_there_is_a_limit_to_all_together() -> None:
    flow = Flow(Width(at_once=10))
    begin(flow, "a", 4)
    begin(flow, "b", 7)
    assert flow.room([]).requests == 0


def test_when_half_of_all_are_slow_their_endpoints_get_no_more() -> None:
    flow = Flow(Width(at_once=4))
    begin(flow, "a")
    begin(flow, "b")
    assert flow.room(["a"]).free == {"a": 1, "b": 1}
    assert flow.room(["a", "b"]).free == {"a": 0, "b": 0}
    assert flow.room(["a", "b"]).to_each == 2


def test_what_is_quiet_is_forgotten() -> None:
    flow = Flow(Width())
    for number in range(100):
        begin(flow, f"{number}")
        end(flow, f"{number}", well=number % 2 == 0)
    assert len(flow.room([]).free) == 100
    assert flow.room([]).free == {}
    assert not flow._allowed
