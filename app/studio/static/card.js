// One card: what is known of a job, put where a person sees it. What is known is kept by the wall (cards.js).

import { facts } from './facts.js';
import { showFrames } from './frames.js';
import { cameToNothing, clock, duration, progressWords, shortened, statusWords, unmarked } from './words.js';

/** `legal` is what its state allows, `now` the server's time in milliseconds. */
export function showCard(job, legal, now) {
  const { view, li } = job;
  const find = (name) => li.querySelector(name);
  const put = (name, words) => {
    const place = find(name);
    if (place.textContent !== words) place.textContent = words;
    place.hidden = !words;
  };
  li.dataset.status = view.status;
  put('h3', view.input.prompt || view.model);
  find('h3').title = view.input.prompt ?? '';
  find('.status .words').textContent = statusWords(view.status);
  showTime(job, now);
  showProgress(job, legal.final);
  find('.failure').hidden = !view.error || view.status === 'completed';
  put('.failure strong', view.error?.title ?? '');
  put('.failure p', unmarked(view.error?.detail ?? ''));
  put('.note', view.note ?? '');
  put('.trouble', job.trouble ?? '');
  find('.facts').replaceChildren(...facts(view, legal).map((words) => textItem(words)));
  const button = (name, wanted) => { find(name).hidden = !wanted; find(name).disabled = Boolean(job.busy); };
  button('.cancel', legal.cancel);
  button('.retry', legal.retry);
  button('.reuse', view.assets.some((asset) => asset.url));
  if (document.activeElement?.hidden && li.contains(document.activeElement)) find('.follow').focus();
  showFrames(find('.frames'), view, job.looks);
}

/** How long it took, or has taken up to now. */
export function showTime({ li, view }, now) {
  const end = view.finished_at ? Date.parse(view.finished_at) : now;
  const words = duration((end - Date.parse(view.created_at)) / 1000);
  const time = li.querySelector('.took');
  if (time.textContent === words) return;
  time.textContent = words;
  time.title = `asked for at ${clock(view.created_at)}`;
}

function showProgress({ li, view, waits }, final) {
  const box = li.querySelector('.progress');
  box.hidden = final;
  if (final) return;
  const bar = box.querySelector('progress');
  const percent = view.progress?.percent;
  if (percent == null) bar.removeAttribute('value');
  else bar.value = percent;
  bar.setAttribute('aria-label', `Progress of ${shortened(view.input.prompt ?? view.model, 60)}`);
  const words = waits && view.status === 'queued'
    ? `${cameToNothing(waits)} It is tried again.`
    : progressWords(view.progress ?? {});
  box.querySelector('.hint').textContent = words;
}

function textItem(words) {
  const li = document.createElement('li');
  li.textContent = words;
  return li;
}
