"""fal's JavaScript client, unmodified, sent here through its `requestMiddleware`."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

VERSION = "1.10.1"
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "darkroom-tests" / f"fal-js-{VERSION}"

SCRIPT = """
const { createFalClient } = require("@fal-ai/client");
const url = process.argv[2];
const here = (request) => ({ ...request, url: request.url.replace(/^https:\\/\\/[^/]+/, url) });
const fal = createFalClient({ credentials: "sandbox", requestMiddleware: async (request) => here(request) });
const flux = "fal-ai/flux/schnell";
(async () => {
  const seen = [];
  const input = { prompt: "a red fox", seed: 7 };
  const done = await fal.subscribe(flux, { input, logs: true, pollInterval: 20,
    onQueueUpdate: (update) => seen.push(update.status) });
  const queued = await fal.queue.submit(flux, { input: { prompt: "x [[never]]" } });
  const status = await fal.queue.status(flux, { requestId: queued.request_id });
  const file = await fal.storage.upload(new Blob(["hello"], { type: "text/plain" }));
  const text = await (await fetch(file)).text();
  await fal.queue.cancel(flux, { requestId: queued.request_id });
  let refusal = null;
  try { await fal.subscribe(flux, { input: { prompt: "x [[refuse]]" }, pollInterval: 20 }); }
  catch (error) { refusal = [error.status, error.body.detail[0].type]; }
  console.log(JSON.stringify({ done, seen, status, text, refusal }));
})().catch((error) => { console.error(error); process.exit(1); });
"""


@pytest.fixture(scope="module")
def client() -> Path:
    """The folder where the pinned client is installed, once, outside the repository."""
    if not shutil.which("npm") or not shutil.which("node"):
        pytest.skip("npm and node are not on this machine")
    if not (CACHE / "node_modules" / "@fal-ai" / "client").exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        command = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(CACHE), f"@fal-ai/client@{VERSION}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        if done.returncode:
            pytest.skip(f"npm could not install @fal-ai/client: {done.stderr.strip()[-200:]}")
    return CACHE


def test_the_javascript_client_subscribes_uploads_and_cancels(sandbox: Any, client: Path) -> None:
    script = client / "here.cjs"
    script.write_text(SCRIPT)
    done = subprocess.run(["node", str(script), sandbox.url], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)

    assert told["done"]["data"]["images"][0]["width"] == 1024
    assert told["seen"][-1] == "COMPLETED"
    assert told["status"]["status"] == "IN_QUEUE"
    assert told["text"] == "hello"
    assert told["refusal"] == [422, "content_policy_violation"]
