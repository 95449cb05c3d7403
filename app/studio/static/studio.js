// The page: what the server put into it, one stream of events, and the parts that show them.

import { ask } from './api.js';
import { Cards } from './cards.js';
import { Live } from './live.js';
import { Log } from './log.js';
import { Order } from './order.js';
import { showToast } from './toasts.js';
import { watchTroubles } from './troubles.js';
import { clock } from './words.js';

const by = (id) => document.getElementById(id);
const setting = JSON.parse(by('setting').textContent);

const WORDS = {
  connecting: () => 'Connecting',
  live: () => 'Live',
  reconnecting: () => `Reconnecting; as of ${clock(heard)}`,
  offline: () => `Offline; as of ${clock(heard)}`,
  closed: (why) => `Closed: ${why}`,
  'signed-out': () => 'Signed out: open a new sign-in link',
};

let heard = Date.now();

function showState(state, why) {
  if (by('connection').dataset.state === 'closed' && state === 'reconnecting') return;
  if (by('connection').dataset.state === 'live') heard = Date.now();
  if (state === 'live') for (const part of [order, cards]) part.connected();
  by('connection').dataset.state = state;
  by('connection').querySelector('.words').textContent = WORDS[state](why);
}

function showBalance({ available, held }) {
  by('balance').querySelector('.free').textContent = available;
  by('balance').querySelector('.held').textContent = held ? `, ${held} held` : '';
}

let asking = false;
let askAgain = false;

/** The balance as it is, asked for once however many events ask for it at the same time. */
async function refreshBalance() {
  askAgain = true;
  if (asking) return;
  asking = true;
  try {
    while (askAgain) {
      askAgain = false;
      showBalance(await ask('GET', '/api/v1/credits'));
    }
  } catch { /* the connection's state says it, and the next snapshot brings it */ } finally {
    asking = false;
  }
}

function follow(job) {
  cards.selected(job);
  log.only(job, job ? `Only “${cards.name(job)}”` : '');
  if (!job) return;
  if (matchMedia('(width < 60rem)').matches) by('log-title').scrollIntoView();
  else document.querySelector('.log').scrollIntoView({ block: 'nearest' });
}

const log = new Log({ list: by('events'), pause: by('pause'), filter: document.querySelector('.log .filter'), showAll: by('all-events') }, follow, (job) => cards.about(job));
const order = new Order(by('order'), setting, (job) => cards.add(job, { look: true }));
const cards = new Cards({ list: by('cards'), older: by('older'), template: by('card') }, setting, {
  follow,
  reuse: (picture) => order.reuse(picture),
  speak: (words) => { by('spoken').textContent = words; },
  drawn: () => log.named(),
});

const live = new Live(setting.types, {
  state: showState,
  load(snapshot) {
    cards.load(snapshot);
    log.load(snapshot.events);
    showBalance(snapshot.credits);
    heard = Date.now();
  },
  event(event) {
    cards.apply(event);
    log.add(event);
    if (event.type.startsWith('credits.')) refreshBalance();
    if (event.type === 'notice') showToast(by('toasts'), event.data);
  },
});

watchTroubles(by('troubles'));
live.begin(JSON.parse(by('snapshot').textContent));
order.begin().catch((error) => showToast(by('toasts'), { level: 'error', title: 'The models could not be loaded', detail: `${error.message} Reload the page.` }));
