// The last events, newest on top. Never more than a hundred are kept, whether shown, paused or filtered.

import { ask } from './api.js';
import { clock, eventWords } from './words.js';

const MOST = 100;

export class Log {
  #all = []; // oldest first
  #own = null; // those of the job that is looked at
  #job = null;
  #paused = false;
  #missed = 0;
  #frame = 0;

  /** `about` says in a few words what a job's picture is to show, as far as that is known. */
  constructor({ list, pause, filter, showAll }, chosen, about) {
    this.list = list;
    this.about = about;
    this.button = pause;
    this.filter = filter;
    pause.addEventListener('click', () => this.#toggle());
    showAll.addEventListener('click', () => chosen(null));
  }

  load(events) {
    this.#all = events.slice(-MOST);
    if (this.#job) this.only(this.#job, this.filter.firstElementChild.textContent);
    this.#soon();
  }

  add(event) {
    keep(this.#all, event);
    if (event.job === this.#job && this.#own) keep(this.#own, event);
    if (this.#paused) {
      this.#missed += 1;
      this.#label();
    } else this.#soon();
  }

  /** Those of one job, from its beginning; of all jobs when `job` is null. */
  async only(job, words = '') {
    this.#job = job;
    this.#own = job && this.#all.filter((event) => event.job === job);
    this.filter.hidden = !job;
    this.filter.firstElementChild.textContent = words;
    this.#draw();
    if (!job) return;
    const page = await ask('GET', `/api/v1/events?job=${job}&limit=200`).catch(() => null);
    if (!page || this.#job !== job) return;
    const known = new Set(page.data.map((event) => event.seq));
    this.#own = [...page.data, ...this.#own.filter((event) => !known.has(event.seq))].slice(-MOST);
    this.#draw();
  }

  #toggle() {
    this.#paused = !this.#paused;
    this.#missed = 0;
    this.button.setAttribute('aria-pressed', String(this.#paused));
    this.#label();
    if (!this.#paused) this.#draw();
  }

  #label() {
    const more = this.#missed ? ` (${Math.min(this.#missed, MOST)}${this.#missed > MOST ? '+' : ''} new)` : '';
    this.button.textContent = this.#paused ? `Go on${more}` : 'Pause';
  }

  #soon() {
    if (!this.#paused) this.#frame ||= requestAnimationFrame(() => this.#draw());
  }

  /** Lines that are there stay where they are: only new ones are made. */
  #draw() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    const wanted = this.#own ?? this.#all;
    const there = new Map([...this.list.children].map((li) => [Number(li.dataset.seq), li]));
    const lines = wanted.map((event) => there.get(event.seq) ?? line(event)).reverse();
    hideOutdated(lines);
    for (const li of lines) this.#tellAbout(li);
    this.list.replaceChildren(...lines);
  }

  /** Which picture it is about, and the way to its card; a job's first event comes before its words are known. */
  #tellAbout(li) {
    const link = li.querySelector('.about');
    const words = link ? this.about(li.dataset.job) : '';
    if (!link || link.textContent === words) return;
    link.textContent = words;
    link.hidden = !words;
  }

  /** What is known of the cards has changed. */
  named() {
    for (const li of this.list.children) this.#tellAbout(li);
  }
}

/** Of a job's progress only the newest is shown: it would drive all else out of sight. `lines` begin with the newest. */
function hideOutdated(lines) {
  const told = new Set();
  for (const li of lines) {
    if (li.dataset.type !== 'job.progress') continue;
    li.hidden = told.has(li.dataset.job);
    told.add(li.dataset.job);
  }
}

function keep(events, event) {
  events.push(event);
  if (events.length > MOST) events.shift();
}

function line(event) {
  const li = document.createElement('li');
  li.dataset.seq = event.seq;
  li.dataset.type = event.type;
  if (event.job) li.dataset.job = event.job;
  if (event.type === 'notice') li.dataset.level = event.data.level;
  const part = (name, words) => Object.assign(document.createElement('span'), { className: name, textContent: words });
  li.append(part('seq', `${event.seq}`), part('said', eventWords(event)), part('type', `${event.type} · ${clock(event.time)}`));
  if (event.job) li.append(Object.assign(document.createElement('a'), { className: 'about', href: `#${event.job}`, hidden: true }));
  return li;
}
