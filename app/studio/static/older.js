// The way back: jobs from before those that the page began with.

import { ask } from './api.js';

const LABEL = 'Show older';

export class Older {
  #cursor = null; // how far back it was asked

  constructor(button, cards) {
    this.button = button;
    this.cards = cards;
    button.addEventListener('click', () => this.#show());
  }

  /** Something may be missing anywhere below the newest: it is looked through from there. */
  begin(wanted) {
    this.#cursor = null;
    this.button.hidden = !wanted;
  }

  /** Page by page, until there is one that is not shown. */
  async #show() {
    this.button.disabled = true;
    try {
      for (let found = 0, more = true; more && !found;) {
        const from = this.#cursor ? `&cursor=${encodeURIComponent(this.#cursor)}` : '';
        const page = await ask('GET', `/api/v1/jobs?limit=40${from}`);
        found = this.cards.addOlder(page.data);
        more = page.has_more;
        this.#cursor = page.next_cursor;
        this.button.hidden = !more;
      }
      this.button.textContent = LABEL;
    } catch (error) {
      this.button.textContent = `${LABEL}. ${error.message}`;
    } finally {
      this.button.disabled = false;
    }
  }
}
