"""Every code that an answer may carry: a code has one meaning, one status and one page, for ever."""

from typing import NamedTuple


class Meaning(NamedTuple):
    """What a code says to a person: the status it comes with, its title, and what to do about it."""

    status: int
    title: str
    remediation: str


CODES: dict[str, Meaning] = {
    "UNAUTHENTICATED": Meaning(
        401,
        "No valid credential",
        "Send `Authorization: Bearer <key>` with a key that is active. Unknown, revoked and expired keys look alike.",
    ),
    "INSUFFICIENT_SCOPE": Meaning(
        403, "The credential lacks a scope", "Use a credential that has the scopes named in `missing_scopes`."
    ),
    "NOT_ALLOWED": Meaning(
        403, "This credential may not do that", "Use a credential of the merchant that owns the object."
    ),
    "NOT_FOUND": Meaning(
        404,
        "Not found",
        "Check the path and the identifier; another merchant's objects and the other environment's are not found.",
    ),
    "METHOD_NOT_ALLOWED": Meaning(405, "Method not allowed", "Use one of the methods in the `Allow` header."),
    "VALIDATION_FAILED": Meaning(
        400, "The request is not valid", "Correct what `errors` names; `param` is the path of the first."
    ),
    "UNKNOWN_FIELD": Meaning(
        400,
        "A field is not known",
        "Remove or correct the field in `param`: a misspelt field is refused, never ignored.",
    ),
    "MALFORMED_JSON": Meaning(400, "The body is not JSON", "Send one JSON object (RFC 8259) in UTF-8."),
    "INVALID_PAGE_TOKEN": Meaning(
        400,
        "The page token is not valid",
        "Send `next_page_token` as it was given, with the same filters, or start without a token.",
    ),
    "CURRENCY_MISMATCH": Meaning(400, "Another currency than the order's", "Send amounts in the order's currency."),
    "AMOUNT_TOO_LARGE": Meaning(400, "The amount is too large", "Send at most 999999999999 minor units."),
    "PAYLOAD_TOO_LARGE": Meaning(413, "The body is too large", "Send a smaller body, or split the request."),
    "UNSUPPORTED_MEDIA_TYPE": Meaning(
        415,
        "Unsupported media type",
        "Send the body as UTF-8 in a media type that the `Accept` header of the answer names, mostly JSON.",
    ),
    "IDEMPOTENCY_KEY_REUSED": Meaning(
        409,
        "The idempotency key belongs to another request",
        "Send the request exactly as the first time, or use a new `Idempotency-Key`.",
    ),
    "IDEMPOTENCY_KEY_IN_PROGRESS": Meaning(
        409, "The first request with this key still runs", "Wait a moment and send the same request again."
    ),
    "VERSION_CONFLICT": Meaning(409, "The object has changed", "Read it again and decide on its `current_version`."),
    "OUTSTANDING_CHANGED": Meaning(
        409, "What is owed has changed", "Show the customer the amount that is owed now, then ask for that."
    ),
    "ORDER_BALANCE_LEASED": Meaning(
        409,
        "The balance is being collected elsewhere",
        "Wait until the lease ends, ask its holder to release it, or collect at most what is available.",
    ),
    "ORDER_EXISTS": Meaning(409, "There is such an order already", "Create it under a new id, or read that one."),
    "ORDER_NOT_OPEN": Meaning(
        409,
        "The order is not open",
        "Read the order: `PATCH` with `status: open` opens a draft; a closed or canceled order takes nothing more.",
    ),
    "ORDER_ALREADY_PAID": Meaning(
        409, "Nothing is owed any more", "Collect nothing more; read the order to see how it was paid."
    ),
    "ORDER_HAS_MONEY": Meaning(409, "The order holds money", "Refund or void what was collected or authorized first."),
    "LEASE_EXPIRED": Meaning(409, "The lease has ended", "Take a new lease; nothing was collected under this one."),
    "LEASE_NOT_HELD": Meaning(409, "The lease is not held", "Take a lease first, and name it with its current fence."),
    "EDIT_CONTRADICTS_MONEY": Meaning(
        409,
        "The change contradicts the money",
        "Refund first, or make a change that covers what is collected or leased.",
    ),
    "REFUND_EXCEEDS_COLLECTED": Meaning(
        409, "More than was collected", "Refund at most what is collected and not yet refunded or being refunded."
    ),
    "PAYMENT_REFERENCE_REUSED": Meaning(
        409,
        "The payment reference belongs to another payment",
        "A reference names one payment for ever: use a new one, or repeat the first message unchanged.",
    ),
    "INTENT_NOT_IN_STATE": Meaning(
        409, "The payment intent is in another state", "Read the intent; its status says which steps are possible."
    ),
    "CAPTURE_EXCEEDS_AUTHORIZED": Meaning(
        409, "More than is held", "Capture at most `authorized_money` of the intent; it may be captured in parts."
    ),
    "CHANNEL_ID_TAKEN": Meaning(
        409, "The channel id is taken", "Choose another `channel_id`, or leave it out to be given one."
    ),
    "CHANNEL_DISABLED": Meaning(409, "The channel is disabled", "Create another channel; a disabled one stays so."),
    "UNMATCHED_MONEY_NOT_OPEN": Meaning(
        409,
        "The item is being dealt with, or is no longer open",
        "Read it: its status says what is under way, or what became of it.",
    ),
    "UNMATCHED_MONEY_NOT_MOVABLE": Meaning(
        409,
        "The item is not money that this can be done with",
        "Read its `event_type`: what never moved cannot be attached, and what went out cannot be returned.",
    ),
    "MONEY_TO_PLACE": Meaning(
        409,
        "There is money to place",
        "Attach the item to the order that it belongs to, or return it; only a conflict can stand for no money.",
    ),
    "MONEY_IS_ON_AN_ORDER": Meaning(
        409,
        "The money is on an order",
        "Attach it to the order in `order_id`, where it then stays, or return it; it cannot go to another order.",
    ),
    "SURPLUS_GONE": Meaning(
        409,
        "The order no longer has this surplus",
        "Read the order: if a refund took it, or the order is owed it by now, attach the item to that order.",
    ),
    "MERCHANT_NOT_ACTIVE": Meaning(
        409, "The merchant is not active", "Activate a suspended merchant first; a closed one stays closed."
    ),
    "API_KEY_NOT_ACTIVE": Meaning(
        409, "The API key is not active", "Make another key: one that was revoked or has expired stays so."
    ),
    "REPLAY_RUNNING": Meaning(
        409, "A replay is running", "Wait until it has finished: an app has one replay at a time."
    ),
    "WEBHOOK_ENDPOINT_DISABLED": Meaning(
        409,
        "The webhook endpoint is disabled",
        "Set its `status` to `active` first; `disabled_reason` says why it is not.",
    ),
    "TOO_MANY_WEBHOOK_ENDPOINTS": Meaning(
        409,
        "There are too many webhook endpoints",
        "Delete one that is no longer needed, or let one take more event types.",
    ),
    "TOO_MANY_WEBHOOK_DELIVERIES": Meaning(
        409,
        "Too many webhook deliveries wait",
        "Ask again when some of what waits for the endpoint has been sent; `next_page_token` is still good then.",
    ),
    "DEVICE_OFFLINE": Meaning(
        409, "The device is not connected", "Wake or reconnect the device, or choose another one."
    ),
    "ACTION_NOT_CANCELABLE": Meaning(
        409, "The action can no longer be canceled", "Wait for its result; refund afterwards where money has moved."
    ),
    "RATE_LIMITED": Meaning(429, "Too many requests", "Wait for the seconds in `Retry-After`, then send it again."),
    "INTERNAL_ERROR": Meaning(
        500, "Our mistake", "Send it again with the same `Idempotency-Key`; name the `request_id` when you report it."
    ),
    "TRY_LATER": Meaning(
        503,
        "Try again later",
        "Wait for the seconds in `Retry-After`, then send it again with the same `Idempotency-Key`.",
    ),
}


def slug_of(code: str) -> str:
    """The last part of the address of a code's page: `ORDER_NOT_OPEN` is at `/problems/order-not-open`."""
    return code.lower().replace("_", "-")


def code_of(slug: str) -> str | None:
    """The code that a page's address names, or None when there is no such code."""
    code = slug.upper().replace("-", "_")
    return code if code in CODES and slug == slug_of(code) else None
