"""The page at `/`: what this is, what one can ask for, what was asked lately, and what goes wrong just now."""

from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from app.sandbox.box import Box
from app.sandbox.claude import api as claude_api
from app.sandbox.control import summary_of
from app.sandbox.fal import chaos, spells
from app.sandbox.fal.catalogue import MODELS

STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse;width:100%;margin:.5rem 0 1.5rem}td,th{text-align:left;padding:.25rem .6rem;
border-bottom:1px solid #ddd;vertical-align:top}code{background:#f3f3ef;padding:0 .25rem}h2{margin-top:2rem}
.ok{color:#2a7a3a}.queued,.running{color:#666}.refused,.failed,.timeout,.cancelled{color:#b03024}"""


def routes(box: Box) -> list[Route]:
    async def show(request: Request) -> Response:
        return HTMLResponse(_page(box, str(request.base_url).rstrip("/")))

    return [Route("/", show, methods=["GET"]), Route("/_sandbox", show, methods=["GET"])]


def _page(box: Box, url: str) -> str:
    summary = summary_of(box)
    fired = summary["chaos_fired"]
    wrong = [(name, f"{box.chaos.odds[name]:g}", fired[name], text) for name, text in chaos.MEANINGS.items()]
    words = [(f"[[{word}]]", text) for word, text in spells.MEANINGS.items()]
    said = [(f"[[{word}]]", text) for word, text in claude_api.MEANINGS.items()]
    models = [(m.endpoint, f"{m.seconds:g} s", f"${m.price_micro / 1e6:g} / {m.unit}") for m in MODELS.values()]
    spent = summary["spent_micro_usd"] / 1e6
    return f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>fal sandbox</title><style>{STYLE}</style>
<h1>fal in a box</h1>
<p>A local server that behaves like fal.ai and Claude, draws its own pictures and costs nothing. It runs at
{box.options.speed:g} times fal's speed.
Any key is an account; <code>bad</code> and <code>locked</code> are turned away.
{summary["posts"]} requests so far; at fal they would have cost ${spent:.2f}.</p>
<p>Its own log: <a href="/_log/summary">summary</a>, <a href="/_log/posts">posts</a>,
<a href="/_log/deliveries">deliveries</a>, <a href="/_log/boxes">boxes</a>, <a href="/_log/questions">questions</a>.</p>
<h2>Lately</h2>
{_table(("when", "model", "prompt", "outcome", "webhook", "pictures"), _recent(box), raw=True)}
<h2>What goes wrong</h2><p>Change it: <code>curl -X POST {escape(url)}/_chaos -d '{{"lost": 0.5}}'</code></p>
{_table(("name", "odds", "fired", "meaning"), wrong)}
<h2>Words that ask for an outcome</h2>{_table(("in the prompt", "what happens"), words)}
<h2>The same for Claude</h2>{_table(("in the text", "what happens"), said)}
<h2>Models</h2>{_table(("endpoint", "usual run", "price"), models)}</html>"""


def _recent(box: Box) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for sub in box.log.submissions("1", tail="ORDER BY ordinal DESC LIMIT 25"):
        files = box.log.rows("SELECT path FROM files WHERE request_id = ?", sub.id)
        links = " ".join(f'<a href="/files/{escape(row["path"])}">{number}</a>' for number, row in enumerate(files, 1))
        state = sub.outcome or sub.state
        outcome = f'<span class="{escape(state)}">{escape(state)}</span> {escape(", ".join(sub.chaos))}'
        when = datetime.fromtimestamp(sub.submitted, UTC).strftime("%H:%M:%S")
        rows.append((when, escape(sub.endpoint), escape(sub.prompt[:90]), outcome, sub.webhook_state, links))
    return rows


def _table(heads: tuple[str, ...], rows: Sequence[tuple[object, ...]], *, raw: bool = False) -> str:
    cells = "".join(
        "<tr>" + "".join(f"<td>{cell if raw else escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><tr>{''.join(f'<th>{head}</th>' for head in heads)}</tr>{cells}</table>"
