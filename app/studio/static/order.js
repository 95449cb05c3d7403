// The form: a model, what it takes, and one request per click.

import { Away, ask, newKey } from './api.js';
import { fieldsOf } from './fields.js';
import { References } from './references.js';
import { count, duration, unmarked } from './words.js';

const ROLES = {
  text_to_image: 'From words', image_to_image: 'From pictures', inpaint: 'Repaint a part', cutout: 'Cut out', upscale: 'Enlarge',
};
const DRAFT = 'darkroom.draft';

export class Order {
  #models = new Map();
  #fields = [];
  #away = false;
  #typed = {}; // by field name, over all models: what one model calls prompt, the next does too

  /** `accepted` is handed the new job. */
  constructor(form, setting, accepted) {
    this.form = form;
    this.accepted = accepted;
    this.credit = setting.sandbox ? 'play credit' : 'credit';
    this.select = form.querySelector('#model');
    this.button = form.querySelector('.main');
    this.references = new References(form.querySelector('#references'), setting.upload_max_bytes, () => this.#edited(form.querySelector('#references')));
    this.select.addEventListener('change', () => this.#choose());
    for (const type of ['input', 'change']) form.addEventListener(type, (e) => this.#edited(e.target.closest('[data-pointer]')));
    form.addEventListener('submit', (e) => { e.preventDefault(); this.#send(); });
    form.addEventListener('keydown', (e) => {
      if (e.key === 'Enter' && (e.ctrlKey || e.metaKey)) this.#send();
    });
  }

  async begin() {
    const { data } = await ask('GET', '/api/v1/models');
    this.#models = new Map(data.map((model) => [model.id, model]));
    for (const [role, title] of Object.entries(ROLES)) {
      const own = data.filter((model) => (model.roles[0] ?? '') === role);
      if (!own.length) continue;
      const group = Object.assign(document.createElement('optgroup'), { label: title });
      for (const model of own) group.append(new Option(`${model.title} · ${price(model)}`, model.id));
      this.select.append(group);
    }
    const draft = JSON.parse(sessionStorage.getItem(DRAFT) ?? '{}');
    if (this.#models.has(draft.model)) this.select.value = draft.model;
    this.#typed = draft.typed ?? {};
    this.#choose();
    for (const { id, name } of draft.references ?? []) this.references.use(id, name);
  }

  /** Take a picture of ours as a reference, with a model that takes one. */
  reuse({ id }) {
    if (!this.#models.get(this.select.value).references.most) {
      this.select.value = [...this.#models.values()].find((model) => model.references.most > 0).id;
      this.#choose();
    }
    this.references.use(id, 'a picture made here');
    this.form.querySelector('#references').scrollIntoView({ block: 'center' });
    this.form.querySelector('textarea')?.focus({ preventScroll: true });
  }

  #choose() {
    this.#remember();
    const model = this.#models.get(this.select.value);
    this.form.querySelector('#model-about').textContent = `${model.summary} Usually about ${duration(model.pace.p50)}.`;
    this.form.querySelector('#cost').textContent = `Costs ${price(model, this.credit)} per picture, paid only when it has arrived.`;
    this.#fields = fieldsOf(model.input_schema);
    for (const place of ['first', 'main', 'more']) {
      const own = this.#fields.filter((field) => field.place === place);
      this.form.querySelector(`#${place}-fields`).replaceChildren(...own.map((field) => field.element));
    }
    for (const { name, write } of this.#fields) if (this.#typed[name] !== undefined) write(this.#typed[name]);
    this.form.querySelector('#more').hidden = !this.#fields.some((field) => field.place === 'more');
    this.references.expect(model.references);
    this.#complain([]);
    this.#keep();
  }

  /** What was wrong with a field is no longer known once it is changed. */
  #edited(place) {
    this.#mark(place, '');
    this.#keep();
  }

  #remember() {
    for (const { name, read } of this.#fields) {
      const value = read();
      if (value === undefined) delete this.#typed[name];
      else this.#typed[name] = value;
    }
  }

  /** What was typed survives a reload. */
  #keep() {
    this.#remember();
    const draft = { model: this.select.value, typed: this.#typed, references: this.references.kept };
    try {
      sessionStorage.setItem(DRAFT, JSON.stringify(draft));
    } catch { /* full or forbidden: then it does not survive one */ }
  }

  async #send() {
    if (this.button.disabled) return;
    this.#complain([]);
    const hindrance = this.#hindrance();
    if (hindrance) {
      this.#complain([{ pointer: '/body/reference_images', detail: hindrance }]);
      return;
    }
    const said = this.#fields.map(({ name, read }) => [name, read()]).filter(([, value]) => value !== undefined);
    const body = { model: this.select.value, input: Object.fromEntries(said), reference_images: this.references.ids };
    const label = this.button.textContent;
    this.button.disabled = true;
    this.button.textContent = 'Sending…';
    const waiting = () => { this.button.textContent = 'Waiting for the service…'; };
    try {
      this.accepted(await ask('POST', '/api/v1/jobs', { body, key: newKey(), waiting }));
    } catch (error) {
      this.#complain(error.errors ?? [], error);
    } finally {
      this.button.disabled = false;
      this.button.textContent = label;
    }
  }

  /** What keeps the references from being all that were chosen. */
  #hindrance() {
    const { broken, underWay } = this.references;
    if (broken.length) return `Nothing was bought: ${broken.join(', ')} cannot be used. Take ${broken.length > 1 ? 'them' : 'it'} away, or choose another picture.`;
    return underWay ? 'A picture is still being sent. Wait a moment.' : '';
  }

  /** The connection is back: a line that only said it was gone goes. */
  connected() {
    if (this.#away) this.#complain([]);
  }

  /** Each fault beside the field its JSON pointer names; what fits nowhere, above the button. */
  #complain(errors, problem = null) {
    for (const place of this.form.querySelectorAll('[data-pointer]')) this.#mark(place, '');
    const strangers = errors.filter(({ pointer, detail }) => !this.#mark(this.#placeOf(pointer), detail));
    const words = strangers.length ? strangers.map((e) => `${e.pointer}: ${e.detail}`).join(' ') : (problem && !errors.length ? problem.message : '');
    this.#away = problem instanceof Away;
    const box = this.form.querySelector('.problem');
    box.hidden = !problem || (!words && errors.length > 0);
    box.querySelector('strong').textContent = problem?.title ?? '';
    box.querySelector('p').textContent = unmarked(words);
    const first = this.form.querySelector('[aria-invalid=true]');
    if (first) {
      first.closest('details')?.setAttribute('open', '');
      first.focus();
    }
  }

  #placeOf(pointer) {
    for (let path = pointer; path; path = path.slice(0, path.lastIndexOf('/'))) {
      const place = this.form.querySelector(`[data-pointer="${CSS.escape(path)}"]`);
      if (place) return place;
    }
    return null;
  }

  #mark(place, words) {
    if (!place) return false;
    const wrong = place.querySelector('.wrong');
    const control = place.querySelector('select, textarea, input');
    wrong.textContent = words ? sentence(unmarked(words)) : '';
    wrong.hidden = !words;
    wrong.id ||= `${control.id}-wrong`;
    control.toggleAttribute('aria-invalid', false);
    if (words) control.setAttribute('aria-invalid', 'true');
    const described = (control.getAttribute('aria-describedby') ?? '').split(' ').filter((id) => id && id !== wrong.id);
    if (words) described.push(wrong.id);
    control.setAttribute('aria-describedby', described.join(' '));
    return true;
  }
}

/** What one picture costs; "from" where some settings cost more. */
function price(model, credit = 'credit') {
  const each = model.price.examples.map((example) => example.credits / example.outputs);
  const least = Math.min(model.price.credits_per_output, ...each);
  return `${Math.max(...each) > least ? 'from ' : ''}${count(least, credit)}`;
}

const sentence = (words) => (/[.!?]$/.test(words) ? words : `${words}.`);
