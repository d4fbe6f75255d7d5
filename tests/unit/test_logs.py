"""Log lines for people."""

from shared.logs import as_text


def test_a_line_for_a_terminal() -> None:
    event = {
        "at": "2026-11-22T00:09:07.227190Z",
        "level": "warning",
        "event": "dead_letter",
        "reason": "NOT_A_CLOUDEVENT",
        "offset": 12,
        "service": "orders,payments",
    }
    assert as_text(None, "", event) == "00:09:07 warning dead_letter reason=NOT_A_CLOUDEVENT offset=12"


def test_a_stack_is_below_its_line() -> None:
    event = {"at": "2026-11-22T00:09:07Z", "level": "error", "event": "failed", "stack": ["a.py:1 f", "b.py:2 g"]}
    assert as_text(None, "", event) == "00:09:07 error failed\n    a.py:1 f\n    b.py:2 g"
