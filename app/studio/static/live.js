// One EventSource for the whole page. Events are numbered 1, 2, 3, ... per workspace, so the page knows what it has seen
// (dropped), what comes next (shown) and when something is missing (then it loads a snapshot and goes on from there).

import { ask } from './api.js';

const SNAPSHOT = '/studio/snapshot';
const HIDDEN_FOR = 60_000; // a hidden tab gives its connection back: a browser has six per host
const QUIET_FOR = 40_000; // then ask whether the silence is real
const SLOWEST = 10_000;

export class Live {
  #source = null;
  #timer = 0;
  #tries = 0;
  #heard = Date.now();
  #hidden = 0;
  #over = false;

  /** `load` shows a snapshot, `event` one event, `state` the connection: (state, why). */
  constructor(types, { load, event, state }) {
    this.types = types;
    this.hooks = { load, event, state };
    this.cursor = 0;
    addEventListener('online', () => this.#again(0));
    addEventListener('offline', () => state('offline'));
    addEventListener('pageshow', (e) => e.persisted && this.#again(0));
    document.addEventListener('visibilitychange', () => this.#seen());
    document.addEventListener('signed-out', () => this.#signedOut());
    setInterval(() => this.#suspect(), QUIET_FOR / 4);
  }

  begin(snapshot) {
    this.cursor = snapshot.seq;
    this.hooks.load(snapshot);
    this.#open();
  }

  #open() {
    this.#close();
    if (this.#over) return;
    const source = new EventSource(`/api/v1/events?after=${this.cursor}`);
    this.#source = source;
    source.onopen = () => {
      this.#heard = Date.now();
      this.hooks.state('live');
    };
    source.onerror = () => {
      if (source !== this.#source) return;
      this.hooks.state(navigator.onLine === false ? 'offline' : 'reconnecting');
      // CONNECTING: the browser comes back by itself, with Last-Event-ID. CLOSED: it was refused and has given up.
      if (source.readyState === EventSource.CLOSED) this.#again();
    };
    for (const type of this.types) source.addEventListener(type, (message) => this.#hear(type, message));
  }

  #close() {
    this.#source?.close();
    this.#source = null;
    clearTimeout(this.#timer);
  }

  #hear(type, message) {
    this.#heard = Date.now();
    const said = JSON.parse(message.data);
    if (type === 'stream.closed') return this.hooks.state('closed', said.detail ?? said.title);
    if (type === 'stream.reset') return this.#again();
    if (said.seq <= this.cursor) return undefined;
    if (said.seq > this.cursor + 1) return this.#again();
    this.#tries = 0;
    this.cursor = said.seq;
    return this.hooks.event(said);
  }

  /** Load anew and follow from there, after a while that grows with each failure. */
  #again(wait = Math.min(SLOWEST, 500 * 2 ** this.#tries) * (0.7 + Math.random() * 0.6)) {
    this.#close();
    if (this.#over) return;
    this.#tries += 1;
    this.#timer = setTimeout(() => this.#reload(), wait);
  }

  async #reload() {
    try {
      this.begin(await ask('GET', SNAPSHOT, { waiting: () => this.hooks.state('reconnecting') }));
    } catch {
      if (this.#over) return;
      this.hooks.state(navigator.onLine === false ? 'offline' : 'reconnecting');
      this.#again();
    }
  }

  #seen() {
    clearTimeout(this.#hidden);
    if (document.hidden) {
      this.#hidden = setTimeout(() => this.#close(), HIDDEN_FOR);
    } else if (!this.#over && this.#source?.readyState !== EventSource.OPEN) {
      this.hooks.state('reconnecting');
      this.#again(0);
    } else this.#suspect();
  }

  /** A dead line makes no sound. After a silence, ask whether there is more than we were told. */
  async #suspect() {
    if (document.hidden || !this.#source || Date.now() - this.#heard < QUIET_FOR) return;
    this.#heard = Date.now();
    const before = this.cursor;
    const { data } = await ask('GET', `/api/v1/events?after=${before}&limit=1`).catch(() => ({ data: [{}] }));
    if (data.length) setTimeout(() => this.cursor === before && this.#again(0), 3000);
  }

  #signedOut() {
    this.#over = true;
    this.#close();
    this.hooks.state('signed-out');
  }
}
