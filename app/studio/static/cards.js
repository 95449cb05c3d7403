// The wall: one card per job, newest first. State is kept as the API tells it; what changed is drawn once per frame.

import { Away, ask, newKey } from './api.js';
import { showCard, showTime } from './card.js';
import { stub } from './facts.js';
import { Older } from './older.js';
import { shortened, statusWords } from './words.js';

const MOST = 60;
const MOST_UNFINISHED = 200;
const QUESTIONS_AT_ONCE = 3; // the browser has six connections, and the person at the page comes first

export class Cards {
  #jobs = new Map(); // id -> { view, looks, li, trouble, busy, loading, unspoken, waits, away }
  #dirty = new Set();
  #frame = 0;
  #asked = new Set(); // jobs that wait to be loaded
  #asking = 0;
  #offset = 0; // the server's clock minus ours
  #most = MOST; // more when older ones were asked for

  /** `setting` is the job's lifecycle as the server has it; `follow(job|null)`, `reuse(picture)`, `speak(words)` and `drawn()` are the page's. */
  constructor({ list, older, template }, setting, { follow, reuse, speak, drawn }) {
    this.list = list;
    this.older = new Older(older, this);
    this.template = template;
    this.setting = setting;
    this.hooks = { follow, reuse, speak, drawn };
    setInterval(() => this.#tick(), 1000);
  }

  load(snapshot) {
    this.#offset = Date.parse(snapshot.now) - Date.now();
    const kept = new Set(snapshot.jobs.map((view) => view.id));
    for (const id of [...this.#jobs.keys()]) if (!kept.has(id)) this.#remove(id);
    this.#most = Math.max(MOST, snapshot.jobs.length);
    for (const view of snapshot.jobs) this.#take(view, snapshot.looks);
    this.older.begin(snapshot.older);
    this.#draw();
  }

  /** A job as an answer of the API tells it. One without `seq` was told when it was accepted. */
  add(view, { look = false } = {}) {
    const job = this.#jobs.get(view.id);
    if (!job) this.#take({ ...view, seq: view.seq ?? 0 });
    else if (view.seq == null) this.#complete(job, view);
    if (look) this.#draw();
    if (look) this.#jobs.get(view.id)?.li.scrollIntoView({ block: 'nearest' });
  }

  /** Jobs of before, all of them for as long as the page is open; how many were not shown yet. */
  addOlder(views) {
    const unknown = views.filter((view) => !this.#jobs.has(view.id));
    this.#most += unknown.length;
    for (const view of unknown) this.add(view);
    return unknown.length;
  }

  /** The stream was quicker than the answer: what never changes is taken from it all the same. */
  #complete(job, { input, reference_images, metadata, max_attempts, credits, retry_of }) {
    job.view = { ...job.view, input, reference_images, metadata, max_attempts, retry_of };
    if (!job.view.finished_at) job.view.credits = credits;
    this.#touch(job);
  }

  apply(event) {
    if (!event.job) return;
    let job = this.#jobs.get(event.job);
    if (!job) {
      if (event.type !== 'job.queued') return;
      job = this.#take(stub(event));
      this.#refresh(job);
      return;
    }
    if (event.seq <= job.view.seq) return;
    const { view } = job;
    view.seq = event.seq;
    this.#move(job, event);
    if (event.type === 'job.submitting') Object.assign(view, { attempt: view.attempt + 1, note: null });
    if (event.type === 'job.progress') view.progress = { ...view.progress, ...event.data };
    if (event.type === 'job.retrying') job.waits = event.data;
    if (event.type === 'job.retrying' || event.type === 'notice') this.#refresh(job); // its note, and what counts
    this.#touch(job);
  }

  selected(id) {
    for (const { view, li } of this.#jobs.values()) {
      li.classList.toggle('selected', view.id === id);
      li.querySelector('.follow').setAttribute('aria-pressed', String(view.id === id));
    }
  }

  name(id) {
    return this.about(id) || id;
  }

  /** The first words of its prompt; none where there is no card, or no prompt. */
  about(id) {
    return shortened(this.#jobs.get(id)?.view.input.prompt ?? '', 60);
  }

  #move(job, event) {
    const status = this.setting.moves[event.type];
    if (!status || status === job.view.status) return;
    this.#mind(job, status);
    job.view.status = status;
    job.view.progress = null;
    if (event.type !== 'job.retrying') job.waits = null;
    if (this.setting.statuses[status].final) {
      job.view.finished_at = event.time;
      job.view.credits = { held: 0, posted: event.data.credits_posted ?? 0 }; // the card says it before it is loaded anew
      this.#refresh(job);
    }
  }

  /** An end is spoken, once, when it is known of what. */
  #mind(job, status) {
    job.unspoken ||= this.setting.statuses[status].final && !this.setting.statuses[job.view.status].final;
  }

  #take(view, looks = {}) {
    let job = this.#jobs.get(view.id);
    if (!job) {
      job = { view, looks: {}, li: this.template.content.firstElementChild.cloneNode(true) };
      this.#jobs.set(view.id, job);
      this.#place(job);
      this.#bind(job);
    } else if (view.seq < job.view.seq) return job;
    else this.#mind(job, view.status);
    job.view = view;
    for (const { id } of view.assets) if (looks[id]) job.looks[id] = looks[id];
    this.#touch(job);
    return job;
  }

  #place({ view, li }) {
    li.id = view.id;
    const older = [...this.list.children].find((other) => this.#key(other.id) < this.#key(view.id));
    this.list.insertBefore(li, older ?? null);
    this.#trim();
  }

  /** The oldest that has ended goes; what goes on stays, as long as there is room. */
  #trim() {
    if (this.#jobs.size <= this.#most) return;
    const ended = [...this.list.children].findLast(({ id }) => this.#jobs.get(id).view.finished_at);
    const gone = ended ?? (this.#jobs.size > MOST_UNFINISHED ? this.list.lastElementChild : null);
    if (!gone) return;
    this.#remove(gone.id);
    this.older.begin(true);
  }

  #key(id) {
    return `${this.#jobs.get(id).view.created_at} ${id}`;
  }

  #remove(id) {
    this.#jobs.get(id).li.remove();
    this.#jobs.delete(id);
  }

  /** Events are thin: ask for the whole job, when it is its turn. */
  #refresh(job) {
    this.#asked.add(job);
    if (this.#asking < QUESTIONS_AT_ONCE) this.#askOn();
  }

  async #askOn() {
    this.#asking += 1;
    for (let job = this.#next(); job; job = this.#next()) {
      this.#asked.delete(job);
      if (this.#jobs.get(job.view.id) === job) await this.#load(job);
    }
    this.#asking -= 1;
  }

  /** One question at a time about each: what is asked for meanwhile waits for the answer. */
  #next() {
    return [...this.#asked].find((job) => !job.loading);
  }

  async #load(job) {
    job.loading = true;
    const { id, status } = job.view;
    try {
      const [view, pictures] = await Promise.all([
        ask('GET', `/api/v1/jobs/${id}`),
        status === 'completed' ? ask('GET', `/api/v1/assets?job=${id}&limit=100`) : { data: [] },
      ]);
      job.trouble = null;
      this.#take(view, Object.fromEntries(pictures.data.map((picture) => [picture.id, picture])));
    } catch (error) {
      job.trouble = `The rest of this card could not be loaded: ${error.message}`;
      job.away = error instanceof Away;
    } finally {
      job.loading = false;
      this.#touch(job);
    }
  }

  #bind(job) {
    const on = (name, act) => job.li.querySelector(name).addEventListener('click', act);
    on('.cancel', () => this.#act(job, 'cancel'));
    on('.retry', () => this.#act(job, 'retry'));
    on('.reuse', () => this.hooks.reuse(job.view.assets[0]));
    on('.follow', (e) => this.hooks.follow(e.currentTarget.getAttribute('aria-pressed') === 'true' ? null : job.view.id));
  }

  /** The connection is back: what was only said for want of it goes. */
  connected() {
    for (const job of this.#jobs.values()) {
      if (!job.away) continue;
      job.away = false;
      job.trouble = null;
      this.#touch(job);
    }
  }

  async #act(job, what) {
    if (job.busy) return;
    job.busy = true;
    job.trouble = null;
    this.#touch(job);
    try {
      const view = await ask('POST', `/api/v1/jobs/${job.view.id}/${what}`, { key: newKey() });
      if (view.id === job.view.id) this.#take(view, job.looks);
      else this.add(view);
    } catch (error) {
      job.trouble = error.message;
      job.away = error instanceof Away;
      if (error.status === 409) this.#refresh(job);
    } finally {
      job.busy = false;
      this.#touch(job);
    }
  }

  #touch(job) {
    this.#dirty.add(job);
    this.#frame ||= requestAnimationFrame(() => this.#draw());
  }

  #draw() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    for (const job of this.#dirty) this.#show(job);
    this.#dirty.clear();
    this.hooks.drawn();
    this.list.previousElementSibling.hidden = this.#jobs.size > 0;
  }

  #show(job) {
    showCard(job, this.setting.statuses[job.view.status], this.#now());
    if (!job.unspoken || job.loading || this.#asked.has(job)) return;
    job.unspoken = false;
    this.hooks.speak(`${statusWords(job.view.status)}: ${this.name(job.view.id)}`);
  }

  #now() {
    return Date.now() + this.#offset;
  }

  #tick() {
    for (const job of this.#jobs.values()) if (!job.view.finished_at) showTime(job, this.#now());
  }
}
