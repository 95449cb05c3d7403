// Asking the service. A request that may be repeated (a GET, or anything with an Idempotency-Key) is repeated while the
// service is away for a moment, so that a restart costs the person at the page nothing.

const SIGN_IN = 'Open a new sign-in link: `darkroom admin signin WORKSPACE` prints one (on your own machine, `darkroom dev` does). '
  + 'Then reload this page. What you typed is kept.';
const PAUSES = [500, 1000, 2000, 4000, 6000];

/** The service said no; `errors` name fields by JSON pointer. */
export class Problem extends Error {
  constructor(status, document = {}) {
    super(document.detail ?? `The service answered ${status}.`);
    this.status = status;
    this.title = document.title ?? 'That did not work';
    this.code = document.code;
    this.errors = document.errors ?? [];
    this.retryable = document.retryable ?? false;
  }
}

/** Nothing came back at all. */
export class Away extends Error {
  constructor() {
    super('The service cannot be reached. What you typed is kept; try again when the connection is back.');
    this.title = 'No connection';
    this.errors = [];
  }
}

/** A word for one intent. `randomUUID` exists on https and localhost only. */
export const newKey = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, '0')).join('');

export const later = (ms) => new Promise((done) => setTimeout(done, ms));

export async function ask(method, path, { body, key, waiting = () => {} } = {}) {
  const headers = { Accept: 'application/json' };
  if (key) headers['Idempotency-Key'] = key;
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  const sent = { method, headers, body: body === undefined ? undefined : JSON.stringify(body) };
  return persist(method === 'GET' || key, waiting, async () => {
    const answer = await fetch(path, sent).catch(() => { throw new Away(); });
    const said = await answer.json().catch(() => ({}));
    if (!answer.ok) throw problemOf(answer.status, said);
    return said;
  });
}

/** Send one file; `progress` is told the part that is out, 0 to 1. */
export function upload(file, { kind, key, progress, waiting = () => {} }) {
  return persist(true, waiting, () => new Promise((done, fail) => {
    const form = new FormData();
    form.append('files', file);
    form.append('kind', kind);
    const request = new XMLHttpRequest();
    request.open('POST', '/api/v1/uploads');
    request.responseType = 'json';
    request.setRequestHeader('Idempotency-Key', key);
    request.upload.onprogress = (e) => e.lengthComputable && progress(e.loaded / e.total);
    request.onerror = () => fail(new Away());
    request.onload = () => (request.status < 300
      ? done(request.response.data[0])
      : fail(problemOf(request.status, request.response ?? {})));
    request.send(form);
  }));
}

async function persist(repeatable, waiting, attempt) {
  for (let tries = 0; ; tries += 1) {
    try {
      return await attempt();
    } catch (error) {
      const passing = error instanceof Away || (error.retryable && [409, 503].includes(error.status));
      if (!repeatable || !passing || tries >= PAUSES.length || navigator.onLine === false) throw error;
      waiting();
      await later(PAUSES[tries]);
    }
  }
}

function problemOf(status, said) {
  if (status !== 401) return new Problem(status, said);
  document.dispatchEvent(new Event('signed-out'));
  return new Problem(status, { ...said, title: 'You are signed out', detail: SIGN_IN });
}
