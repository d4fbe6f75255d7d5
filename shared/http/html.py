"""The few pages that every service shows to people: plain HTML, with nothing loaded from elsewhere."""

from html import escape

from shared.http.problem_codes import CODES, slug_of

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Everything from this host only; the viewer of the reference sets styles inline."""


def reference_page(title: str) -> str:
    """The API reference: how to call, then every operation."""
    return _page(
        title,
        f"""
<main class="wide">
  <h1>{escape(title)}</h1>
  <p class="lead">One durable order, through every channel. JSON over HTTP, under <code>/v1</code>.</p>
  <div class="cards">
    <section><h2>Authentication</h2>
      <p>Send your key with each request. A key belongs to one merchant and one environment.</p>
      <pre>Authorization: Bearer tl_test_…</pre></section>
    <section><h2>Safe repeats</h2>
      <p>Send an <code>Idempotency-Key</code> with each write. The same request again gets the first answer, and takes
      effect once.</p><pre>Idempotency-Key: 4f1c0c52-…</pre></section>
    <section><h2>Problems</h2>
      <p>Every refusal is <code>application/problem+json</code> with a stable <code>code</code>.
      <a href="/problems">All codes</a> · <a href="/openapi.json">OpenAPI 3.1</a></p></section>
  </div>
  <div id="reference"><p class="quiet">The list of operations needs JavaScript;
  <a href="/openapi.json">the document</a> does not.</p></div>
</main>
<script src="/docs-assets/swagger-ui-bundle.js"></script>
<script src="/docs-assets/reference.js"></script>""",
        '<link rel="stylesheet" href="/docs-assets/swagger-ui.css">',
    )


def problem_page(code: str) -> str:
    """What one code means and what to do about it."""
    meaning = CODES[code]
    return _page(
        f"{code} · Throughline",
        f"""
<main>
  <p class="quiet"><a href="/problems">Problems</a></p>
  <h1>{escape(meaning.title)}</h1>
  <p><span class="status">{meaning.status}</span> <code>{code}</code></p>
  <h2>What to do</h2>
  <p class="lead">{_with_code(meaning.remediation)}</p>
  <p class="quiet">The <code>detail</code> of the answer says what was the matter in that request; its
  <code>request_id</code> finds it in the logs.</p>
</main>""",
    )


def problems_page() -> str:
    """Every code."""
    rows = "".join(
        f'<tr><td><span class="status">{meaning.status}</span></td>'
        f'<td><a href="/problems/{slug_of(code)}"><code>{code}</code></a></td><td>{escape(meaning.title)}</td></tr>'
        for code, meaning in sorted(CODES.items(), key=lambda item: (item[1].status, item[0]))
    )
    return _page("Problems · Throughline", f"<main><h1>Problems</h1><table>{rows}</table></main>")


def people_page(title: str, body: str, corner: str = "") -> str:
    """A page for people who do business here rather than program; `body` and `corner` are HTML."""
    return f"""<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title><link rel="icon" href="data:,">
<link rel="stylesheet" href="/docs-assets/pages.css"></head>
<body><header><span class="brand">Throughline</span>{corner}</header>{body}</body></html>"""


def _page(title: str, body: str, head: str = "") -> str:
    return f"""<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title><link rel="icon" href="data:,">
{head}<link rel="stylesheet" href="/docs-assets/reference.css"></head>
<body><header><a class="brand" href="/docs">Throughline</a><nav><a href="/docs">Reference</a>
<a href="/problems">Problems</a></nav></header>{body}</body></html>"""


def _with_code(text: str) -> str:
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if number % 2 else part for number, part in enumerate(parts))
