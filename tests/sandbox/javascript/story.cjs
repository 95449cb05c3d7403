// fal's client as its documentation has it, sent to the sandbox whose address is the argument; prints what it was told.

const { createFalClient } = require("@fal-ai/client");
const url = process.argv[2];
const here = (request) => ({ ...request, url: request.url.replace(/^https:\/\/[^/]+/, url) });
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
