// The pictures a model draws from: chosen or dropped, sent at once, shown with their progress.

import { newKey, upload } from './api.js';
import { pictureAddress } from './frames.js';
import { count } from './words.js';

export class References {
  #slots = []; // { id, name, preview, part, trouble, li }
  #takes = { least: 0, most: 0, fields: [] };

  constructor(box, largest, changed) {
    this.largest = largest;
    this.box = box;
    this.list = box.querySelector('.slots');
    this.changed = changed;
    const input = box.querySelector('input');
    input.addEventListener('change', () => {
      this.#add(input.files);
      input.value = '';
    });
    const drop = box.querySelector('.drop');
    for (const name of ['dragenter', 'dragover']) {
      box.addEventListener(name, (e) => { e.preventDefault(); drop.classList.add('over'); });
    }
    for (const name of ['dragleave', 'drop']) box.addEventListener(name, () => drop.classList.remove('over'));
    box.addEventListener('drop', (e) => { e.preventDefault(); this.#add(e.dataTransfer.files); });
  }

  /** What the chosen model takes. Pictures beyond that are kept, for another model, but not sent. */
  expect({ least, most, fields }) {
    this.#takes = { least, most, fields };
    this.box.hidden = most === 0;
    const several = least === most ? count(most, 'picture') : `${least} to ${most} pictures`;
    const named = fields.length > 1 ? `: ${fields.map(plain).join(', then ')}` : '';
    this.box.querySelector('.hint').textContent = `This model takes ${several}${named}. PNG, JPEG, WebP or AVIF, up to ${megabytes(this.largest)} each.`;
    this.box.querySelector('input').multiple = most > 1;
    this.#draw();
  }

  get ids() {
    return this.#takes.most === 0 ? [] : this.#slots.filter((slot) => slot.id).slice(0, this.#takes.most).map((slot) => slot.id);
  }

  get underWay() {
    return this.#takes.most > 0 && this.#slots.some((slot) => !slot.id && !slot.trouble);
  }

  /** The names of those that cannot be used: what was chosen is not left out in silence. */
  get broken() {
    return this.#takes.most === 0 ? [] : this.#slots.filter((slot) => slot.trouble).map((slot) => slot.name);
  }

  get kept() {
    return this.#slots.filter((slot) => slot.id).map(({ id, name }) => ({ id, name }));
  }

  /** Those that are there or on their way: a broken one takes nobody's place. */
  get #whole() {
    return this.#slots.filter((slot) => !slot.trouble);
  }

  /** A picture that the service has already. */
  use(id, name) {
    if (this.#slots.some((slot) => slot.id === id)) return;
    this.#make({ id, name, preview: pictureAddress(id, 'thumb') });
  }

  #add(files) {
    for (const file of files) {
      const slot = this.#make({ name: file.name, preview: URL.createObjectURL(file), part: 0 });
      this.#send(slot, file);
    }
  }

  #make(slot) {
    if (this.#takes.most === 1) for (const old of [...this.#slots]) this.#remove(old);
    this.#slots.push(slot);
    this.#draw();
    this.changed();
    return slot;
  }

  async #send(slot, file) {
    const mask = (this.#takes.fields[this.#whole.indexOf(slot)] ?? '').includes('mask');
    const progress = (part) => { slot.part = part; this.#draw(); };
    try {
      if (file.size > this.largest) throw new Error(`It has ${megabytes(file.size)}; ${megabytes(this.largest)} are taken.`);
      slot.id = (await upload(file, { kind: mask ? 'mask' : 'reference', key: newKey(), progress })).id;
    } catch (error) {
      slot.trouble = error.errors?.[0]?.detail ?? error.message; // the name stands above it
    }
    this.#draw();
    this.changed();
  }

  #remove(slot) {
    if (slot.preview.startsWith('blob:')) URL.revokeObjectURL(slot.preview);
    slot.li?.remove();
    this.#slots = this.#slots.filter((other) => other !== slot);
    this.#draw();
    this.changed();
  }

  #draw() {
    const whole = this.#whole;
    this.#slots.forEach((slot) => {
      slot.li ??= this.#line(slot);
      const i = whole.indexOf(slot);
      const spare = i >= this.#takes.most;
      const name = this.#takes.fields.length > 1 && i >= 0 && !spare ? `${plain(this.#takes.fields[i])}: ${slot.name}` : slot.name;
      const state = slot.trouble ?? (slot.id ? (spare ? 'not used by this model' : '') : `sending, ${Math.round(slot.part * 100)} %`);
      slot.li.classList.toggle('broken', Boolean(slot.trouble));
      slot.li.querySelector('.name').textContent = name;
      slot.li.querySelector('.state').textContent = state;
      slot.li.querySelector('progress').hidden = Boolean(slot.id || slot.trouble);
      slot.li.querySelector('progress').value = slot.part ?? 1;
    });
    this.list.replaceChildren(...this.#slots.map((slot) => slot.li));
  }

  #line(slot) {
    const li = document.createElement('li');
    const make = (tag, properties) => li.appendChild(Object.assign(document.createElement(tag), properties));
    const image = make('img', { src: slot.preview, alt: '', width: 48, height: 48 });
    image.addEventListener('error', () => { image.style.visibility = 'hidden'; });
    make('span', { className: 'name' });
    make('span', { className: 'state' });
    make('progress', { max: 1, ariaLabel: `Sending ${slot.name}` });
    make('button', { type: 'button', textContent: '×', ariaLabel: `Remove ${slot.name}` }).addEventListener('click', () => this.#remove(slot));
    return li;
  }
}

const megabytes = (bytes) => `${Math.ceil(bytes / 1e5) / 10} MB`;
const plain = (field) => (field.includes('mask') ? 'mask' : 'picture');
